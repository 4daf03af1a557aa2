"""What a step costs more in the engine than in a loop written by hand.

A 64-64-64 MLP, batches of 32 gathered from tensors in memory, AdamW, gradient clipping, a
schedule per step, a log line every 50 steps. The engine's run is an experiment file with every
default on: it also seeds each step, writes `metrics.jsonl` and lines, keeps a progress bar and a
watchdog, measures data and step time, looks for losses that are not finite, would save every five
minutes, and can be interrupted at any step. Both run in rounds that take turns in one process;
what comes before step 100 and after the last measured one is not counted. Times are CPU time of
the process and all its threads, calls are what cProfile counts (Python functions and builtins).

    python benchmarks/step_overhead.py [--rounds 9] [--steps 1000] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import json
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR

from trainer_core import hookimpl
from trainer_core.datasets import RandomRegression
from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.engine.progress import TerminalProgress
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.datasets import TensorDataset

BATCH, WIDTH, SIZE, LOG_EVERY, CLIP = 32, 64, 1024, 50, 1.0
WARM_UP, NEVER = 100, 1 << 62
SLOW_START, SLOW_STEPS = 0.01, 100
EXPERIMENT: dict[str, Any] = {
    "schema_version": 1,
    "run": {"name": "overhead", "out_dir": "unset", "device": "cpu", "threads": 1},
    "model": {
        "sequential": {
            "layers": [
                {"_type_": "nn.Linear", "in_features": WIDTH, "out_features": WIDTH},
                {"_type_": "nn.ReLU"},
                {"_type_": "nn.Linear", "in_features": WIDTH, "out_features": WIDTH},
            ]
        }
    },
    "data": {
        "_type_": "random_regression",
        "x_shape": [WIDTH],
        "y_shape": [WIDTH],
        "size": SIZE,
        "batch_size": BATCH,
    },
    "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["y"]}},
    "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
    "optimizer": {"_type_": "optim_cls.AdamW", "lr": 1e-3},
    "scheduler": {
        "_type_": "sched_cls.LinearLR",
        "start_factor": SLOW_START,
        "total_iters": SLOW_STEPS,
    },
    "trainer": {
        "_type_": "default",
        "max_steps": 1,
        "log_every_n_steps": LOG_EVERY,
        "grad_clip_norm": CLIP,
    },
}


def make_model() -> nn.Sequential:
    """Return the network with the same weights each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))


def make_data() -> TensorDataset:
    """Return 1024 samples in memory."""
    built = RandomRegression([WIDTH], [WIDTH], size=SIZE).build({}, {})
    dataset: TensorDataset = built["dataset"]
    return dataset


class Meter:
    """Measures from step `WARM_UP` on, for some steps: CPU time, or calls with a profile.

    Args:
        steps: How many to measure.
        profile: Counts calls; None: the time is taken.
    """

    def __init__(self, steps: int, profile: cProfile.Profile | None = None) -> None:
        self.last = WARM_UP + steps
        self.profile = profile
        self.began = self.spent = 0.0

    def tell(self, step: int) -> None:
        """Take note of a step that is done."""
        if step == WARM_UP:
            if self.profile is not None:
                self.profile.enable()
            self.began = time.process_time()
        elif step == self.last:
            self.spent = time.process_time() - self.began
            if self.profile is not None:
                self.profile.disable()

    @hookimpl
    def trainer_fit_start(self, state: Any) -> None:
        """Have the two steps told by the run's timetable, which costs the others nothing."""

        def next_told(step: int) -> int:
            return next((told for told in (WARM_UP, self.last) if told > step), NEVER)

        state.timetable.at_steps(next_told, lambda: self.tell(state.step))


def run_by_hand(meter: Meter, dataset: TensorDataset) -> float:
    """Train in a plain loop and return the last logged loss."""
    model = make_model()
    criterion = nn.MSELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = LinearLR(optimizer, SLOW_START, total_iters=SLOW_STEPS)
    x, y = dataset.columns["x"], dataset.columns["y"]
    order, logged = torch.empty(0, dtype=torch.int64), 0.0
    for step in range(meter.last + 1):
        if step in {WARM_UP, meter.last}:
            meter.tell(step)
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


def run_in_engine(meter: Meter, dataset: TensorDataset) -> float:
    """Train in the engine, with its defaults, and return the last logged loss."""
    del dataset  # it makes its own, which is the same
    loaded = load_experiment(EXPERIMENT, (f"trainer.max_steps={meter.last + 1}",))
    bar = TerminalProgress(io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        experiment = build_experiment(loaded, LocalRanks())
        experiment.hooks.add(meter)
        result = fit(experiment, Path(folder), progress=bar)
    return result.metrics["loss"]


def cpu_us_per_step(run: Callable[..., float], steps: int, dataset: TensorDataset) -> float:
    """Return CPU microseconds of a step."""
    meter = Meter(steps)
    run(meter, dataset)
    return meter.spent / steps * 1e6


def calls_per_step(run: Callable[..., float], dataset: TensorDataset) -> float:
    """Return the function calls of a step."""
    profile = cProfile.Profile()
    run(Meter(200, profile), dataset)
    return float(pstats.Stats(profile).total_calls) / 200  # type: ignore[attr-defined] # missing in typeshed


def measure(rounds: int, steps: int) -> dict[str, Any]:
    """Return medians over rounds that take turns."""
    dataset = make_data()
    runs = {"by_hand": run_by_hand, "engine": run_in_engine}
    for run in runs.values():
        run(Meter(100), dataset)
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
