"""Time a served policy: round trips and throughput of 1, 4 and 16 clients against direct calls.

    OMP_NUM_THREADS=1 python benchmarks/serving.py [RUN|EXPORT] [--seconds 3] [--rounds 3]

The server is `trainer serve` in a process of its own; clients are threads of this one, and ask
again as soon as they have an answer. Direct calls of the same policy take turns with them. Without
a run, `il/reach` is trained for two steps. `cpu ms` is the processor time of the server (direct: of
this process) for one chunk, which a busy machine does not change much. Goals: a chunk for one
client costs the server at most 1 ms more than a direct call costs, one of 16 clients less than a
direct call, because they share batches.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from experiments_il.serving.client import PolicyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CLIENTS = (1, 4, 16)
Row: TypeAlias = tuple[float, float, float, float]
"""Median and 99th percentile of a call in ms, calls a second, CPU milliseconds of a call."""


def main() -> None:
    """Print a row for direct calls and for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", nargs="?", type=Path, help="what is served")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        served = options.policy or train(Path(scratch))
        with server(served) as (port, cpu):
            observation, act = direct(served, port)
            rows: dict[str, list[Row]] = {}
            for _ in range(options.rounds):
                found = measure([act], options.seconds, time.process_time)
                rows.setdefault("direct", []).append(found)
                for count in CLIENTS:
                    name = f"{count} client{'s' if count > 1 else ''}"
                    found = measure_clients(port, observation, count, options.seconds, cpu)
                    rows.setdefault(name, []).append(found)
    report(rows)


def train(folder: Path) -> Path:
    """Return a run of two steps."""
    from trainer_core.run import run

    changes = ["params.demonstrations=2", "trainer.max_steps=2", "evaluation=null", "callbacks=[]"]
    run("il/reach", [*changes, f"run.out_dir={folder}/run", f"data.root={folder}/data"])
    return folder / "run"


@contextmanager
def server(policy: Path) -> Iterator[tuple[int, Callable[[], float]]]:
    """Serve a policy in a process of its own; yield the port, and what tells its CPU seconds."""
    command = [sys.executable, "-m", "trainer_core", "serve", str(policy), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("serving ws://"):
                yield int(line.rpartition(":")[2]), lambda: cpu_seconds(process.pid)
                break
        process.terminate()


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process on Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def direct(policy: Path, port: int) -> tuple[dict[str, Any], Callable[[], object]]:
    """Return an observation, and a call of the same policy in this process, both of numpy."""
    with PolicyClient(port=port) as client:
        described = client.metadata
    observation = {
        key: np.zeros(spec["shape"], spec["dtype"])
        for key, spec in described["observation"].items()
    }
    frames = {key: np.stack([each] * described["n_obs_steps"]) for key, each in observation.items()}
    if (policy / "program.json").is_file():
        from experiments_il.serving.onnx_policy import OnnxPolicy

        program = OnnxPolicy(policy)
        return observation, lambda: program.act({key: each[None] for key, each in frames.items()})
    import torch

    from experiments_il import load_policy

    torch.set_num_threads(1)
    loaded = load_policy(policy)

    def act() -> object:
        batch = {key: torch.from_numpy(each)[None] for key, each in frames.items()}
        return loaded.act(batch).numpy()

    return observation, act


def measure_clients(
    port: int,
    observation: dict[str, Any],
    count: int,
    seconds: float,
    cpu: Callable[[], float],
) -> Row:
    """Return what `measure` does, for clients that ask at the same time."""
    clients = [PolicyClient(port=port) for _ in range(count)]
    try:
        calls = [partial(client.infer, observation) for client in clients]
        return measure(calls, seconds, cpu)
    finally:
        for client in clients:
            client.close()


def measure(calls: Sequence[Callable[[], object]], seconds: float, cpu: Callable[[], float]) -> Row:
    """Return what it takes to repeat each call in a thread of its own."""
    times: list[float] = []

    def repeat(call: Callable[[], object], until: float) -> None:
        while time.perf_counter() < until:
            begin = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - begin))

    for call in calls:
        call()
    begin, cpu_begin = time.perf_counter(), cpu()
    threads = [threading.Thread(target=repeat, args=(call, begin + seconds)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(times) / (time.perf_counter() - begin)
    cpu_ms = 1e3 * (cpu() - cpu_begin) / len(times)
    times.sort()
    return statistics.median(times), times[int(0.99 * (len(times) - 1))], rate, cpu_ms


def report(rows: dict[str, list[Row]]) -> None:
    """Print the medians of the rounds, and what the goals are about."""
    print(f"{'':<12}{'p50 ms':>9}{'p99 ms':>9}{'chunks/s':>11}{'cpu ms':>9}")
    middle = {}
    for name, rounds in rows.items():
        middle[name] = [statistics.median(column) for column in zip(*rounds, strict=True)]
        p50, p99, rate, cpu_ms = middle[name]
        print(f"{name:<12}{p50:>9.2f}{p99:>9.2f}{rate:>11.0f}{cpu_ms:>9.2f}")
    over = middle["1 client"][3] - middle["direct"][3]
    share = middle["16 clients"][3] / middle["direct"][3]
    print(f"a chunk for one client costs {over:.2f} ms of CPU more than directly (goal: at most 1)")
    print(f"a chunk for one of 16 costs {share:.2f} times a direct call (goal: below 1)")


if __name__ == "__main__":
    main()
