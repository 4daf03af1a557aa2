"""Adds to the replay buffer and batches from it, beside a bare ring and a bare actor.

    OMP_NUM_THREADS=1 python -m benchmarks.replay_buffer [--rounds N] [--folder FOLDER]

Low-dimensional transitions (state 39, action 4, float32) in episodes of 100 steps. The candidates
take turns in one process, so a busy machine slows all alike; medians of the rounds. Only ours write
to the disk, and wait for it. The actors are in a Ray cluster on this machine.

- bare ring: a numpy array for each key, written in place, in this process
- bare actor: a Ray actor that appends what comes to a list
- buffer: ours, in this process
- buffer actor: ours, as an actor
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer_ray.cluster import cluster
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.client import ask
from trainer_ray.online.replay_buffer import ReplayBuffer
from trainer_ray.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STEPS, STATE, ACTION = 100, 39, 4
EPISODES = (1, 10)
"""Episodes of one add."""
BATCH, WINDOW = 256, 16
GOAL_ADDS, GOAL_SAMPLE_MS = 20_000, 1.0
CAPACITY = 200_000
KEYS: dict[str, dict[str, Any]] = {
    "observation.state": {"shape": [STATE], "dtype": "float32", "offsets": [-1, 0]},
    "action": {"shape": [ACTION], "dtype": "float32", "offsets": list(range(WINDOW))},
}


class BareRing:
    """What numpy alone can do: no episodes' edges, no hashes, no files."""

    def __init__(self) -> None:
        self.arrays = {
            key: np.zeros((CAPACITY, *about["shape"]), np.float32) for key, about in KEYS.items()
        }
        self.head = 0

    def add(self, episodes: list[dict[str, Any]]) -> None:
        """Write episodes over the oldest ones."""
        for episode in episodes:
            for key, array in self.arrays.items():
                array[self.head : self.head + STEPS] = episode["columns"][key]
            self.head = (self.head + STEPS) % CAPACITY

    def sample(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Gather windows that may cross the edges of episodes."""
        return {
            key: array[np.clip(rows[:, None] + KEYS[key]["offsets"], 0, CAPACITY - 1)]
            for key, array in self.arrays.items()
        }


class BareActor:
    """A list in an actor."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def add(self, episodes: list[dict[str, Any]]) -> int:
        """Append episodes."""
        self.items.extend(episodes)
        del self.items[: -(CAPACITY // STEPS)]
        return len(episodes)


def make_episode(random: np.random.Generator) -> dict[str, Any]:
    """Return an episode as a rollout worker sends it."""
    columns = {
        key: random.standard_normal((STEPS, *about["shape"]), dtype=np.float32)
        for key, about in KEYS.items()
    }
    return {"columns": columns, "success": True, "version": 0}


def time_adds(
    candidates: dict[str, Callable[[list[dict[str, Any]]], Any]], count: int, rounds: int
) -> dict[str, float]:
    """Return transitions per second of adds of so many episodes, on the wall."""
    random = np.random.default_rng(0)
    episodes = [make_episode(random) for _ in range(count)]
    adds = max(1, 60 // count)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for turn in range(rounds + 1):  # the first warms up
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            for _ in range(adds):
                candidates[name](episodes)
            seconds[name].append(time.perf_counter() - began)
    work = adds * count * STEPS
    return {name: work / statistics.median(times[1:]) for name, times in seconds.items()}


def time_samples(buffer: ReplayBuffer, rounds: int = 400) -> float:
    """Return milliseconds of one batch."""
    times = []
    for seed in range(rounds):
        began = time.perf_counter()
        buffer.sample(BATCH, seed)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def time_bare_samples(ring: BareRing, rounds: int = 400) -> float:
    """Return milliseconds of one batch of the bare ring."""
    times = []
    for seed in range(rounds):
        began = time.perf_counter()
        ring.sample(np.random.default_rng(seed).integers(0, CAPACITY, BATCH))
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


class Numbered:
    """Gives each add of a buffer a number.

    Args:
        add: `ReplayBuffer.add`, here or in an actor.
    """

    def __init__(self, add: Callable[..., Any]) -> None:
        self.add, self.number = add, -1

    def __call__(self, episodes: list[dict[str, Any]]) -> None:
        """Add episodes and see that they were kept."""
        self.number += 1
        kept = self.add("benchmark", self.number, episodes)["kept"]
        assert kept == len(episodes)


def compare(folder: Path, rounds: int) -> None:
    """Measure and print; Ray is connected."""
    import ray

    ring = BareRing()
    remote: Any = ray.remote(num_cpus=0)
    bare = remote(BareActor).remote()
    options: dict[str, Any] = {"capacity": CAPACITY, "sampling": "prioritized"}
    buffer = ReplayBuffer(str(folder / "here"), KEYS, **options)
    actor = start_buffer(str(folder / "there"), KEYS, name="benchmark", **options)
    plain = start_buffer(str(folder / "plain"), KEYS, name="uniform", capacity=CAPACITY)
    candidates: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
        "bare ring": ring.add,
        "bare actor": lambda episodes: ray.get(bare.add.remote(episodes)),
        "buffer": Numbered(buffer.add),
        "buffer actor": Numbered(lambda *given: ask(actor, "add", *given, timeout_s=60)),
        "uniform buffer actor": Numbered(lambda *given: ask(plain, "add", *given, timeout_s=60)),
    }
    for count in EPISODES:
        rates = time_adds(candidates, count, rounds)
        print(f"adds of {count} x {STEPS} transitions, per second:")
        for name, rate in rates.items():
            print(f"  {name:22}{rate:12,.0f}")
        ratio = rates["buffer actor"] / rates["bare actor"]
        reached = rates["buffer actor"] / GOAL_ADDS
        print(f"  buffer actor / bare actor {ratio:.2f}; {reached:.1f} x the goal of {GOAL_ADDS:,}")
    print(f"a batch of {BATCH}, windows of {WINDOW}, ms:")
    print(f"  {'bare ring, no edges':22}{time_bare_samples(ring):8.3f}")
    for name, each in {"prioritized": actor, "uniform": plain}.items():
        inside = ray.get(each.__ray_call__.remote(lambda self: time_samples(self._opened)))
        whole = []
        for seed in range(100):
            began = time.perf_counter()
            ask(each, "sample", BATCH, seed, timeout_s=60)
            whole.append(time.perf_counter() - began)
        print(
            f"  {name + ' in the actor':22}{inside:8.3f} (goal under {GOAL_SAMPLE_MS:g}); "
            f"{1e3 * statistics.median(whole):.1f} until it is here"
        )
    frames = buffer.describe()["frames"]
    buffer.close()
    began = time.perf_counter()
    ReplayBuffer(str(folder / "here"), KEYS, **options).close()
    print(f"opened again: {frames:,} frames in {time.perf_counter() - began:.2f} s")


def main() -> None:
    """Measure in a cluster of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", os.urandom(32).hex())
    folder = Path(tempfile.mkdtemp(prefix="replay-", dir=options.folder))
    try:
        with cluster(Options()):
            compare(folder, options.rounds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
