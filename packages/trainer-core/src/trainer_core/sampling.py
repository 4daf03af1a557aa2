"""The order of samples, a function of (seed, epoch) and a position alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Order",
    "OwnOrder",
    "SampleOrder",
    "SampleSequence",
    "mix_bits",
    "order_of",
    "permutation",
]


class SampleSequence(Protocol):
    """What a data set returns as its own order: samples by position, without end.

    With `size` samples, positions `e * size` to `(e + 1) * size` are epoch e and hold every sample
    once. It is a function of the position alone, found at once for any: a run that goes on asks
    for the middle of an epoch, and each rank for its own part of every batch.
    """

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the samples at positions `start:stop`, int64."""
        ...


class Order(SampleSequence, Protocol):
    """The order of a run.

    Attributes:
        size: Samples of the data set.
        seed: The run's seed.
    """

    size: int
    seed: int


def mix_bits(numbers: NDArray[np.int64], key: np.uint64) -> NDArray[np.uint64]:
    """Return a 64-bit hash of (key, number): the same on every machine and version of numpy.

    Source: SplitMix64 (Steele, Lea and Flood, 2014).
    """
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of `size` samples in an epoch.

    Samples are sorted by a 64-bit hash of (seed, epoch, index): integers only, so the order is
    the same on every machine and with every version of numpy.
    """
    key = np.uint64(derive_seed(seed, "epoch", epoch))
    mixed = mix_bits(np.arange(size), key)
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


class OwnOrder:
    """The order that a data set asks to be read in.

    Args:
        size: Samples of the data set.
        seed: The run's seed.
        sequence: What its `sample_order(seed)` returned.
    """

    def __init__(self, size: int, seed: int, sequence: SampleSequence) -> None:
        self.size = size
        self.seed = seed
        self._sequence = sequence

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the samples at positions `start:stop`, int64.

        Raises:
            ValueError: The data set returns something else.
        """
        found = np.asarray(self._sequence.indices(start, stop))
        if found.shape != (stop - start,) or found.dtype.kind not in "iu":
            msg = (
                f"the data set's order returned {found.dtype} {list(found.shape)} for "
                f"{stop - start} positions; expected as many integers"
            )
            raise ValueError(msg)
        if len(found) and (int(found.min()) < 0 or int(found.max()) >= self.size):
            msg = f"the data set's order leaves its samples 0 to {self.size - 1}"
            raise ValueError(msg)
        return found.astype(np.int64, copy=False)


def order_of(dataset: Any, seed: int) -> Order:
    """Return the order in which a run reads a data set: its own if it has one, else shuffled.

    Args:
        dataset: Its own order is what `sample_order(seed)` returns, a `SampleSequence`; None, or no
            such method, leaves the choice to the engine.
        seed: The run's seed.

    Raises:
        ValueError: The data set is empty.
    """
    shuffled = SampleOrder(len(dataset), seed)
    offer = getattr(dataset, "sample_order", None)
    sequence = offer(seed) if callable(offer) else None
    return shuffled if sequence is None else OwnOrder(len(dataset), seed, sequence)
