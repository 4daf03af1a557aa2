"""Throughput of the runner `ray` beside the runner `ddp`, and what telling the driver costs.

Both train the same MLP at the same global batch in as many processes, one thread each, and take
turns in every round; a time is that of the fastest of several windows of ten steps after the
first, the one that other programs disturbed least. The cluster stays up over all rounds: start-up
does not count. A worker of Ray tells the driver four times a second how far it is, and asks whether
it should stop; no step waits for it, and what its thread costs is measured by itself.

    python -m benchmarks.ray_scaling [--rounds 3] [--workers 2] [--width 512] [--batch 512] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch, also that of the processes

STEPS_OF_WINDOW, SAMPLES, POLLS = 10, 4096, 200
POLL_S = 0.25
METRICS = tuple(f"metric_{number}" for number in range(16))
WAYS = ("ddp", "ray")


def experiment(options: argparse.Namespace, way: str, folder: Path) -> dict[str, Any]:
    """Return the run of one way."""
    width, workers = options.width, options.workers
    layer = {"_type_": "nn.Linear", "in_features": width, "out_features": width}
    layers = [layer, {"_type_": "nn.ReLU"}, layer, {"_type_": "nn.ReLU"}]
    runner = {
        "ddp": {"_type_": "ddp", "nproc_per_node": workers},
        "ray": {"_type_": "ray", "num_workers": workers},
    }
    data = {"x_shape": [width], "y_shape": [8], "size": SAMPLES}
    return {
        "schema_version": 1,
        "run": {"name": "scaling", "out_dir": str(folder), "device": "cpu", "resume": "none"},
        "runner": runner[way],
        "model": {"sequential": {"layers": [*layers, layer | {"out_features": 8}]}},
        "data": {"_type_": "random_regression", "batch_size": workers * options.batch, **data},
        "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["y"]}},
        "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
        "optimizer": {"_type_": "torch", "type": "AdamW", "kwargs": {"lr": 1e-3}},
        "trainer": {
            "_type_": "default",
            "max_steps": (options.windows + 1) * STEPS_OF_WINDOW,
            "log_every_n_steps": STEPS_OF_WINDOW,
        },
        "loggers": [{"_type_": "jsonl"}],
    }


def step_seconds(options: argparse.Namespace, way: str, folder: Path) -> float:
    """Train and return rank 0's seconds of a step."""
    import trainer_core

    with redirect_stdout(None):
        trainer_core.run(experiment(options, way, folder))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return min(float(json.loads(line)["step_s"]) for line in lines[1:])  # the first warms up


def listening_share() -> float:
    """Return the share of a core that a worker's questions to the driver take."""
    import ray

    from trainer_ray.mailbox import Mailbox

    mailbox: Any = ray.remote(num_cpus=0)(Mailbox).remote()
    ray.get(mailbox.wish.remote())
    began = time.thread_time()
    for step in range(POLLS):  # a log line in each of them
        metrics = dict.fromkeys(METRICS, 0.1 * step)
        ray.get(mailbox.wish.remote({"step": step, "total_steps": POLLS, "metrics": metrics}))
    return (time.thread_time() - began) / POLLS / POLL_S


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return medians over rounds in which both ways take turns."""
    import ray

    from trainer_ray.cluster import cluster, import_ray
    from trainer_ray.options import Options

    import_ray()
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name, cluster(Options()):
        assert ray.is_initialized()
        share = listening_share()
        for number in range(options.rounds):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                times[way].append(step_seconds(options, way, Path(name) / f"{way}-{number}"))
    pairs = zip(times["ddp"], times["ray"], strict=True)
    return {
        "step_ms": {way: 1e3 * statistics.median(values) for way, values in times.items()},
        "ratio": statistics.median(ddp / other for ddp, other in pairs),
        "ratio_of_fastest": min(times["ddp"]) / min(times["ray"]),
        "listening_share": share,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=512, help="samples of a process in a step")
    parser.add_argument("--windows", type=int, default=10, help="of ten steps each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options)
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    for way, step_ms in figures["step_ms"].items():
        print(f"{way:5}{step_ms:8.1f} ms a step")
    print(f"throughput of ray over ddp {figures['ratio']:.3f}   (goal: at least 0.95)")
    print(f"that of the fastest rounds {figures['ratio_of_fastest']:.3f}")
    print(f"listening {100 * figures['listening_share']:.2f}% of a core   (goal: below 1%)")
    print(f"load of the machine {figures['load']:.1f}, its cores {os.cpu_count()}")


if __name__ == "__main__":
    main()
