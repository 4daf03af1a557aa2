"""The order of samples, a function of (seed, epoch) and a position alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SampleOrder", "permutation"]


def permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of `size` samples in an epoch.

    Samples are sorted by a 64-bit hash of (seed, epoch, index): integers only, so the order is
    the same on every machine and with every version of numpy.

    Source: SplitMix64 as the hash (Steele, Lea and Flood, 2014).
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    key = np.uint64(derive_seed(seed, "epoch", epoch))
    mixed = np.arange(1, size + 1, dtype=np.uint64) * golden + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.argsort(mixed, kind="stable").astype(np.int64, copy=False)


class SampleOrder:
    """The endless concatenation of shuffled epochs; batches may straddle two of them.

    Position p holds sample `permutation(seed, p // size)[p % size]`. A batch is a range of
    positions, so no batch is short and nothing has to be remembered but a position.

    Args:
        size: Samples of the data set.
        seed: The run's seed.
        shuffle: False: every epoch in the order of the data set.

    Raises:
        ValueError: The data set is empty.
    """

    def __init__(self, size: int, seed: int, *, shuffle: bool = True) -> None:
        if size < 1:
            msg = "the data set is empty"
            raise ValueError(msg)
        self.size = size
        self.seed = seed
        self.shuffle = shuffle
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the samples at positions `start:stop`, int64; do not write to the array."""
        epoch, offset = divmod(start, self.size)
        if epoch != self._epoch:
            self._load(epoch)
        end = offset + stop - start
        if end <= self.size:
            return self._order[offset:end]
        parts = [self._order[offset:]]
        position = start + self.size - offset
        while position < stop:
            epoch += 1
            self._load(epoch)
            parts.append(self._order[: stop - position])
            position += self.size
        return np.concatenate(parts)

    def _load(self, epoch: int) -> None:
        self._epoch = epoch
        self._order = (
            permutation(self.size, self.seed, epoch)
            if self.shuffle
            else np.arange(self.size, dtype=np.int64)
        )
