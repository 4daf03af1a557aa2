"""What a step costs more in the engine than in a loop written by hand.

A 64-64-64 MLP, batches of 32 gathered from tensors in memory, AdamW, gradient clipping, a
schedule per step, a log line every 50 steps; the engine also seeds each step, keeps a progress
bar, measures data and step time and can be interrupted at any step. Both run in rounds that take
turns in one process; times are CPU time of the process, calls are what cProfile counts (Python
functions and builtins).

    python benchmarks/step_overhead.py [--rounds 9] [--steps 1000] [--json]
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from trainer_core.datasets import RandomRegression
from trainer_core.discovery.hooking import start_hooks
from trainer_core.engine.built import Experiment
from trainer_core.engine.hooks import Hooks
from trainer_core.engine.loop import fit
from trainer_core.engine.progress import TerminalProgress
from trainer_core.io import Mapping
from trainer_core.normalize import Normalizer
from trainer_core.optim import ScheduleHandle
from trainer_core.step import StepOptions
from trainer_core.trainers import DefaultTrainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.datasets import TensorDataset

BATCH, WIDTH, LOG_EVERY, CLIP = 32, 64, 50, 1.0


def make_model() -> nn.Sequential:
    """Return the network with the same weights each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))


def make_data() -> TensorDataset:
    """Return 1024 samples in memory."""
    built = RandomRegression([WIDTH], [WIDTH], size=1024).build({}, {})
    dataset: TensorDataset = built["dataset"]
    return dataset


def rate(step: int) -> float:
    """Return the factor of the learning rate at a step."""
    return min(1.0, (step + 1) / 100)


def run_by_hand(steps: int, dataset: TensorDataset) -> float:
    """Train in a plain loop and return the last logged loss."""
    model = make_model()
    criterion = nn.MSELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = LambdaLR(optimizer, rate)
    x, y = dataset.columns["x"], dataset.columns["y"]
    order, logged = torch.empty(0, dtype=torch.int64), 0.0
    for step in range(steps):
        start = step * BATCH % len(x)
        if start == 0:
            order = torch.randperm(len(x))
        rows = order[start : start + BATCH]
        optimizer.zero_grad()
        loss = criterion(model(x[rows]), y[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        if (step + 1) % LOG_EVERY == 0:
            logged = loss.item()
    return logged


def run_in_engine(steps: int, dataset: TensorDataset) -> float:
    """Train in the engine and return the last logged loss."""
    models = nn.ModuleDict({"model": nn.Sequential()})
    models["model"] = _Named(make_model())
    optimizer = torch.optim.AdamW(models.parameters(), lr=1e-3)
    optimizers: dict[str, torch.optim.Optimizer] = {"default": optimizer}
    schedules = {"default": ScheduleHandle(LambdaLR(optimizer, rate))}
    mapping = Mapping({"x": ["x"]}, {"y": ["y"]})
    trainer = DefaultTrainer(models, optimizers, nn.MSELoss(), torch.device("cpu"), io=mapping)
    trainer.configure(StepOptions(total_steps=steps, global_batch=BATCH, grad_clip_norm=CLIP))
    experiment = Experiment(
        name="overhead",
        seed=0,
        device=torch.device("cpu"),
        models=models,
        optimizers=optimizers,
        schedules=schedules,
        trainer=trainer,
        dataset=dataset,
        normalizer=Normalizer(),
        global_batch=BATCH,
        total_steps=steps,
        settings=SimpleNamespace(
            log_every_n_steps=LOG_EVERY,
            val_every_n_steps=None,
            max_time_s=None,
            grad_accum_steps=1,
        ),
        hooks=Hooks(start_hooks([])[0]),
    )
    bar = TerminalProgress(io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(experiment, Path(folder), progress=bar)
    return result.metrics["loss"]


class _Named(nn.Module):
    """Gives the network's input its name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x)


def cpu_us_per_step(run: Callable[..., float], steps: int, dataset: TensorDataset) -> float:
    """Return CPU microseconds of a step; what a run costs besides its steps is taken out."""
    begin = time.process_time()
    run(10, dataset)
    middle = time.process_time()
    run(10 + steps, dataset)
    return ((time.process_time() - middle) - (middle - begin)) / steps * 1e6


def calls_per_step(run: Callable[..., float], dataset: TensorDataset) -> float:
    """Return the function calls of a step: a run of 250 steps less one of 50, over 200."""
    counts = []
    for steps in (50, 250):
        profile = cProfile.Profile()
        profile.enable()
        run(steps, dataset)
        profile.disable()
        counts.append(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined] # missing in typeshed
    return float(counts[1] - counts[0]) / 200


def measure(rounds: int, steps: int) -> dict[str, Any]:
    """Return medians over rounds that take turns."""
    dataset = make_data()
    runs = {"by_hand": run_by_hand, "engine": run_in_engine}
    for run in runs.values():
        run(100, dataset)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs) if number % 2 == 0 else list(reversed(runs))
        for name in names:
            times[name].append(cpu_us_per_step(runs[name], steps, dataset))
    pairs = list(zip(times["by_hand"], times["engine"], strict=True))
    calls = {name: calls_per_step(run, dataset) for name, run in runs.items()}
    return {
        "by_hand_us": statistics.median(times["by_hand"]),
        "engine_us": statistics.median(times["engine"]),
        "overhead_us": statistics.median(engine - by_hand for by_hand, engine in pairs),
        "ratio": statistics.median(engine / by_hand for by_hand, engine in pairs),
        "by_hand_calls": calls["by_hand"],
        "engine_calls": calls["engine"],
        "overhead_calls": calls["engine"] - calls["by_hand"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(options.rounds, options.steps)
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"by hand   {figures['by_hand_us']:7.1f} us/step  {figures['by_hand_calls']:6.1f} calls")
    print(f"engine    {figures['engine_us']:7.1f} us/step  {figures['engine_calls']:6.1f} calls")
    print(
        f"overhead  {figures['overhead_us']:+7.1f} us/step  {figures['overhead_calls']:+6.1f} calls"
        f"  ratio {figures['ratio']:.3f}   (goal: at most +50 us and +150 calls)"
    )


if __name__ == "__main__":
    main()
