"""Samples in runs: many runs of neighbouring frames play at once, each in random order.

A video is decoded in runs; who reads frames all over the data set decodes many for nothing. Here
the runs of an epoch are shuffled and cut into lanes. Each round takes one sample of every lane, the
lanes in random order; a lane plays the frames of its run in random order before the next. All of it
follows from (seed, epoch, position): any place of the order is found at once, whatever the batch
size, the ranks and the workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from trainer_core.random import derive_seed
from trainer_core.sampling import mix_bits, permutation

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ChunkedOrder", "Chunks", "Runs"]


@dataclass(frozen=True)
class Chunks:
    """How `order: chunked` cuts a data set.

    Attributes:
        frames: Frames of a run, at most; the runs of an episode are as even as can be.
        in_flight: Runs that play at once.
    """

    frames: int = 32
    in_flight: int = 32


@final
class Runs:
    """The runs of neighbouring samples that a data set is cut into; none crosses an episode.

    Args:
        lengths: Samples of each episode, `(episodes,)`.
        frames: Samples of a run, at most.

    Attributes:
        start: First sample of each run, ascending, `(runs,)`.
        length: Samples of each run.
        episode: Number of the episode among those given.
    """

    def __init__(self, lengths: NDArray[np.int64], frames: int) -> None:
        pieces = -(-lengths // frames)
        self.episode = np.repeat(np.arange(len(lengths)), pieces)
        number = np.arange(len(self.episode)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        of_episode, parts = lengths[self.episode], pieces[self.episode]
        before = np.repeat(np.cumsum(lengths) - lengths, pieces)
        first, after = number * of_episode // parts, (number + 1) * of_episode // parts
        self.start: NDArray[np.int64] = before + first
        self.length: NDArray[np.int64] = after - first

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.start)

    def of(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the run of each sample."""
        return np.searchsorted(self.start, samples, side="right") - 1


@final
class ChunkedOrder:
    """The endless order of samples in runs: a `trainer_core.sampling.SampleSequence`.

    Args:
        runs: The runs.
        in_flight: Runs that play at once; fewer if there are fewer.
        seed: The run's seed.
    """

    def __init__(self, runs: Runs, in_flight: int, seed: int) -> None:
        self._runs = runs
        self._size = int(runs.length.sum())
        self._lanes = min(in_flight, len(runs))
        self._seed = seed
        # Lanes are as long as one another, or one sample longer.
        self._bounds = np.arange(self._lanes + 1) * self._size // self._lanes
        self._longer = np.flatnonzero(np.diff(self._bounds) > self._size // self._lanes)
        self._epoch = -1
        self._shuffled: NDArray[np.int64] = np.empty(0, np.int64)
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the samples at positions `start:stop` of the endless order, int64."""
        parts = []
        while start < stop:
            epoch, first = divmod(start, self._size)
            last = min(first + stop - start, self._size)
            parts.append(self._within(epoch, first, last))
            start += last - first
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def mean_episodes(self, batch_size: int, batches: int = 16) -> float:
        """Return how many episodes a batch of the first epoch holds on average."""
        places = np.linspace(0, max(0, self._size - batch_size), batches).astype(int).tolist()
        found = [self.indices(place, place + batch_size) for place in places]
        episodes = [self._runs.episode[self._runs.of(samples)] for samples in found]
        return float(np.mean([len(np.unique(each)) for each in episodes]))

    def _within(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        """Return the samples at positions of one epoch."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._shuffled = permutation(len(self._runs), self._seed, epoch)
            self._ends = np.cumsum(self._runs.length[self._shuffled])
        position = np.arange(first, last)
        turn, slot = np.divmod(position, self._lanes)
        lane = self._lane_at(epoch, turn, slot)
        place = self._bounds[lane] + turn
        shuffled = np.searchsorted(self._ends, place, side="right")
        run = self._shuffled[shuffled]
        offset = place - (self._ends[shuffled] - self._runs.length[run])
        samples: NDArray[np.int64] = self._runs.start[run] + self._inside(epoch, run, offset)
        return samples

    def _lane_at(
        self, epoch: int, turn: NDArray[np.int64], slot: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the lane of each slot: a permutation of the lanes for every round."""
        turns, row = np.unique(turn, return_inverse=True)
        key = np.uint64(derive_seed(self._seed, "lanes", epoch))
        numbers = turns[:, None] * self._lanes + np.arange(self._lanes)
        order = np.argsort(mix_bits(numbers, key), axis=1, kind="stable")
        lane: NDArray[np.int64] = order[row, slot]
        is_last = turn == self._size // self._lanes  # the round of the longer lanes alone
        lane[is_last] = self._longer[slot[is_last]]
        return lane

    def _inside(
        self, epoch: int, run: NDArray[np.int64], offset: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return which frame of its run comes at an offset: a permutation for every run."""
        runs, row = np.unique(run, return_inverse=True)
        longest = int(self._runs.length[runs].max())
        within = np.arange(longest)
        key = np.uint64(derive_seed(self._seed, "frames", epoch))
        mixed = mix_bits(self._runs.start[runs][:, None] + within, key)
        mixed[within[None, :] >= self._runs.length[runs][:, None]] = np.iinfo(np.uint64).max
        order = np.argsort(mixed, axis=1, kind="stable")
        inside: NDArray[np.int64] = order[row, offset]
        return inside
