"""Batches of windows from the columnar store against a bare numpy gather of the same windows.

The data set is written by our own writer: 200 episodes of 300 frames, state 14, action 14. A batch
has an action chunk of 40, a state history of 2, their pad masks and every scalar of the frame. The
bare gather gets the clamped row numbers for nothing and returns the two windows only.

Process CPU time on one thread; the candidates take turns, round by round. With `--lerobot-python
PATH` (see `lerobot_peer.py`) LeRobot reads, opens and writes the same. Run it as
`OMP_NUM_THREADS=1 python -m benchmarks.lowdim_loader`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.lerobot_peer import Peer, add_option, write_episodes

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.dataset import WindowDataset
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.writer import LeRobotWriter
from trainer_core.windows import EdgeDistances, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Candidate = Callable[[NDArray[np.int64]], Any]

EPISODES, LENGTH, WIDTH = 200, 300, 14
OFFSETS = {"action": range(40), "observation.state": range(-1, 1)}
TARGET = {256: 0.85, 32: 0.30}
PEER_TARGET = {256: 1500, 32: 500}
PEER_EVERY, PEER_ITEMS = 10, 32


def write_dataset(root: Path) -> float:
    """Write the data set and return rows per CPU second."""
    random = np.random.default_rng(0)
    episodes = random.standard_normal((EPISODES, 2, LENGTH, WIDTH), dtype=np.float32)
    features = {key: {"dtype": "float32", "shape": [WIDTH]} for key in OFFSETS}
    began = time.process_time()
    with LeRobotWriter.create(root, fps=30, features=features) as writer:
        for action, state in episodes:
            writer.add_episode({"action": action, "observation.state": state}, "benchmark")
    return EPISODES * LENGTH / (time.process_time() - began)


def open_timed(root: Path) -> tuple[ColumnStore, float, float]:
    """Open the columns and return them with the seconds it took, on the wall and of the CPU."""
    began, busy = time.perf_counter(), time.process_time()
    store = ColumnStore(open_lerobot(root))
    return store, time.perf_counter() - began, time.process_time() - busy


def bare_gather(store: ColumnStore) -> Candidate:
    """Return numpy's fancy gather of the windows, with their rows computed beforehand."""
    everything = EdgeDistances(np.arange(len(store)), store.before, store.after)
    windows = [
        (store.numbers(key), Window(offsets).rows(everything)) for key, offsets in OFFSETS.items()
    ]
    return lambda rows: [column[places[rows]] for column, places in windows]


def measure(
    candidates: dict[str, Candidate], batch: int, rounds: int, peer: Peer | None
) -> dict[str, float]:
    """Return samples per CPU second of each candidate."""
    order = np.random.default_rng(1).permutation(EPISODES * LENGTH)
    batches = order[: len(order) // batch * batch].reshape(-1, batch)[: 16_384 // batch]
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.process_time()
            for rows in batches:
                candidates[name](rows)
            seconds[name].append(time.process_time() - began)
        if peer is not None and turn % PEER_EVERY == 0:
            few = order[turn * PEER_ITEMS :][:PEER_ITEMS].tolist()
            spent = peer.read(few) / len(few) * batches.size
            seconds.setdefault("lerobot", []).append(spent)
    return {name: batches.size / statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    add_option(parser)
    options = parser.parse_args()
    rounds, python = options.rounds, options.lerobot_python
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        written = write_dataset(root)
        print(f"write   {written:10,.0f} rows per CPU second (target 40,000)")
        _store, first, first_cpu = open_timed(root)
        store, second, _second_cpu = open_timed(root)
        print(
            f"open    {first * 1e3:7.1f} ms at first ({first_cpu * 1e3:.1f} of the CPU), "
            f"{second * 1e3:.1f} ms after (target 50)"
        )
        dataset = WindowDataset(store, OFFSETS)
        peer = None
        if python:
            other = Path(folder) / "lerobot"
            features = {
                key: {"dtype": "float32", "shape": [WIDTH], "names": None} for key in OFFSETS
            }
            rows, version = write_episodes(python, other, features, 10, LENGTH)
            peer = Peer(python, root, OFFSETS, 30)
            print(
                f"LeRobot {version}: writes {rows:,.0f} rows per CPU second; "
                f"{written / rows:.0f} x that (goal 50)"
            )
            print(
                f"LeRobot opens in {1e3 * peer.open_s:.1f} ms of CPU time; "
                f"{first_cpu / peer.open_s:.2f} of that at first (goal 2)"
            )
        candidates: dict[str, Candidate] = {
            "batch": dataset.__getitems__,
            "gather": bare_gather(store),
        }
        for batch in (32, 64, 256, 1024):
            rate = measure(candidates, batch, rounds, peer)
            ratio = rate["batch"] / rate["gather"]
            target = f" (target {TARGET[batch]:.2f})" if batch in TARGET else ""
            print(
                f"B={batch:<5} {rate['batch']:10,.0f} samples/s; "
                f"bare gather {rate['gather']:10,.0f}; ratio {ratio:.2f}{target}"
            )
            if peer is not None:
                times = rate["batch"] / rate["lerobot"]
                goal = f" (goal {PEER_TARGET[batch]})" if batch in PEER_TARGET else ""
                print(f"        {times:,.0f} x LeRobot's {rate['lerobot']:,.0f} items/s{goal}")
        if peer is not None:
            peer.close()


if __name__ == "__main__":
    main()
