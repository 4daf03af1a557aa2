"""How well two processes share the work, in the runner `ddp` and in a DDP loop written by hand.

Each process is pinned to a core of its own and computes with one thread; the batch of a process
stays the same, so a second one should double the samples. Efficiency is the time of a step of one
process over that of two. The four ways take turns in every round, in processes that stay up, and
the ratio of the efficiencies is the median over the rounds. Both sides train an MLP on batches
gathered from tensors in memory with AdamW; a time is that of the fastest
of several windows of five steps, the one that other programs disturbed least.

    python benchmarks/ddp_scaling.py [--rounds 5] [--width 1024] [--batch 1024] [--json]
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

STEPS_OF_WINDOW, SAMPLES, LIMIT_S = 5, 4096, 120


def train_by_hand(options: argparse.Namespace, rank: int, size: int) -> list[float]:
    """Return the seconds of a step in each window of a loop around DistributedDataParallel."""
    import torch
    from torch import distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    torch.manual_seed(0)
    width = options.width
    model: nn.Module = nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 8)
    )
    x, y = torch.randn(SAMPLES, width), torch.randn(SAMPLES, 8)
    if size > 1:
        dist.init_process_group("gloo")
        model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    criterion = nn.MSELoss()
    windows = []
    for _ in range(options.windows + 1):
        spent = 0.0
        for step in range(STEPS_OF_WINDOW):
            begin = time.perf_counter()
            order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(step))
            rows = order[rank * options.batch : (rank + 1) * options.batch]
            optimizer.zero_grad()
            criterion(model(x[rows]), y[rows]).backward()
            optimizer.step()
            spent += time.perf_counter() - begin
        windows.append(spent / STEPS_OF_WINDOW)
    if size > 1:
        dist.barrier()
        dist.destroy_process_group()
    return windows


def train_in_runner(options: argparse.Namespace, rank: int, size: int, folder: str) -> list[float]:
    """Return the seconds of a step in each window of a run of the runner `ddp`."""
    import trainer_core

    width = options.width
    layer = {"_type_": "nn.Linear", "in_features": width, "out_features": width}
    layers = [layer, {"_type_": "nn.ReLU"}, layer, {"_type_": "nn.ReLU"}, layer]
    steps = (options.windows + 1) * STEPS_OF_WINDOW
    data = {"x_shape": [width], "y_shape": [8], "size": SAMPLES}
    trainer_core.run(
        {
            "schema_version": 1,
            "run": {"name": "scaling", "out_dir": folder, "device": "cpu", "resume": "none"},
            "runner": {"_type_": "ddp"},
            "model": {"sequential": {"layers": [*layers[:-1], layer | {"out_features": 8}]}},
            "data": {"_type_": "random_regression", "batch_size": size * options.batch, **data},
            "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["y"]}},
            "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
            "optimizer": {"_type_": "torch", "type": "AdamW", "kwargs": {"lr": 1e-3}},
            "trainer": {
                "_type_": "default",
                "max_steps": steps,
                "log_every_n_steps": STEPS_OF_WINDOW,
            },
            "loggers": [{"_type_": "jsonl"}],
        }
    )
    if rank:
        return []
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step_s"] for line in lines]


def be_rank(options: argparse.Namespace) -> None:
    """Train as one process whenever a line says so, and answer with the seconds of a step."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    os.sched_setaffinity(0, {options.core})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        way, os.environ["MASTER_PORT"], folder = line.split()
        if way == "by_hand":
            windows = train_by_hand(options, rank, size)
        else:
            windows = train_in_runner(options, rank, size, folder)
        step_s = min(windows[1:]) if windows else 0.0  # the first warms up
        faulthandler.cancel_dump_traceback_later()
        print(step_s, file=answers, flush=True)


class Ranks:
    """Processes of one world size that train when they are told to."""

    def __init__(self, size: int, cores: list[int]) -> None:
        self.size = size
        own = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
        own |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, *sys.argv[1:], "--core", str(cores[rank])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **own, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(size)
        ]

    def measure(self, way: str, folder: Path) -> float:
        """Return rank 0's seconds of a step."""
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        for process in self.processes:
            assert process.stdin is not None
            print(way, port, folder, file=process.stdin, flush=True)
        answers = []
        for process in self.processes:
            assert process.stdout is not None
            answers.append(process.stdout.readline())
        if not all(answers):
            message = "a process ended; its own message says why"
            raise SystemExit(message)
        return float(answers[0])

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(LIMIT_S)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return medians over rounds in which the four ways take turns."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        message = "two cores are needed"
        raise SystemExit(message)
    ways = [(way, size) for size in (1, 2) for way in ("by_hand", "runner")]
    times: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    load = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        ranks = {size: Ranks(size, cores) for size in (1, 2)}
        for several in ranks.values():
            stack.callback(several.close)
        for number in range(options.rounds + 1):
            for way, size in ways if number % 2 == 0 else reversed(ways):
                folder = Path(name) / f"{number}-{size}"
                times[way, size].append(ranks[size].measure(way, folder))
            load.append(os.getloadavg()[0])
    times = {way: values[1:] for way, values in times.items()}  # the first round imports
    efficiency = {
        way: [one / two for one, two in zip(times[way, 1], times[way, 2], strict=True)]
        for way in ("by_hand", "runner")
    }
    fastest = {way: min(values) for way, values in times.items()}
    by_hand, own = (fastest[way, 1] / fastest[way, 2] for way in ("by_hand", "runner"))
    pairs = zip(efficiency["runner"], efficiency["by_hand"], strict=True)
    return {
        "step_ms": {f"{w}-{n}": 1e3 * statistics.median(v) for (w, n), v in times.items()},
        "efficiency": {way: statistics.median(values) for way, values in efficiency.items()},
        "ratio": statistics.median(runner / other for runner, other in pairs),
        "ratio_of_fastest": own / by_hand,
        "load": statistics.mean(load),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1024, help="samples of a process in a step")
    parser.add_argument("--windows", type=int, default=4, help="of five steps each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.core is not None:
        be_rank(options)
        return
    figures = measure(options)
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    step = figures["step_ms"]
    print("           1 process   2 processes   efficiency")
    for way, title in {"by_hand": "by hand", "runner": "runner"}.items():
        one, two = step[f"{way}-1"], step[f"{way}-2"]
        print(f"{title:9}{one:8.1f} ms {two:10.1f} ms {figures['efficiency'][way]:12.3f}")
    print(f"ratio of the efficiencies {figures['ratio']:.3f}   (goal: at least 0.9)")
    print(f"that of the fastest of all rounds {figures['ratio_of_fastest']:.3f}")
    print(f"mean load of the machine {figures['load']:.1f}, its cores {os.cpu_count()}")


if __name__ == "__main__":
    main()
