"""Batches in the order of `sampling`, read in this process or by workers."""

from __future__ import annotations

import faulthandler
import signal
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from trainer_core.seeding import seed_everything_once, seed_worker
from trainer_core.tree import to_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from numpy.typing import NDArray

    from trainer_core.protocols import Batch
    from trainer_core.sampling import Order

__all__ = ["BatchSource", "make_reader", "open_loader"]


class Reader(Protocol):
    """Reads one batch; `position` is that of its first sample in the order."""

    def __call__(self, indices: NDArray[np.int64], position: int) -> Batch:
        """Return the samples as one batch of tensors."""
        ...


def make_reader(dataset: Any, seed: int) -> Reader:
    """Return a function that reads a batch of a data set.

    A data set with `__getitems__(indices)` returns the batch itself. One with `__getitem__` is
    read sample by sample and collated; as its samples may be augmented with global generators,
    these are seeded from (seed, position) before.

    Raises:
        TypeError: The data set has neither.
    """
    if callable(getattr(dataset, "__getitems__", None)):
        read_batch = dataset.__getitems__

        def read_whole(indices: NDArray[np.int64], position: int) -> Batch:
            del position
            batch: Batch = read_batch(indices)
            for value in batch.values():
                if type(value) is not torch.Tensor:
                    converted: Batch = to_tensors(batch)
                    return converted
            return batch

        return read_whole
    if not callable(getattr(dataset, "__getitem__", None)):
        msg = f"the data set {type(dataset).__name__} has neither __getitems__ nor __getitem__"
        raise TypeError(msg)

    def read_samples(indices: NDArray[np.int64], position: int) -> Batch:
        seed_everything_once(seed, "data", position)
        batch: Batch = default_collate([dataset[index] for index in indices.tolist()])
        return batch

    return read_samples


class BatchSource:
    """This rank's part of each global batch, from any position on.

    Args:
        dataset: What a data set factory returned as `dataset`.
        order: The order of its samples.
        global_batch: Samples of a step over all ranks.
        rank: Number of this process.
        world_size: Number of processes; divides the global batch.
        num_workers: Loader processes; 0: read in this one.
        pin_memory: Whether batches go to a CUDA device.
        prepare: Normalises a batch on the device; a data set whose `samples_at_once` is larger
            than a batch is read, and prepared, for as many steps at once.
    """

    def __init__(
        self,
        dataset: Any,
        order: Order,
        *,
        global_batch: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        prepare: Callable[[Batch], Batch] | None = None,
    ) -> None:
        self.dataset = dataset
        self.order = order
        self.global_batch = global_batch
        self.local_batch = global_batch // world_size
        self.offset = rank * self.local_batch
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.prepare = prepare

    def iterate(self, position: int) -> Callable[[], Batch]:
        """Return a function that returns the next batch, beginning at a global position."""
        prepare = self.prepare
        if self.num_workers:
            bring = iter(open_loader(self, position)).__next__
            return bring if prepare is None else lambda: prepare(bring())
        read = make_reader(self.dataset, self.order.seed)
        if prepare is not None:
            read = _prepared(read, prepare)
        steps = getattr(self.dataset, "samples_at_once", 0) // self.local_batch
        if steps > 1:
            return self._iterate_ahead(read, position, steps)
        indices, stride, length = self.order.indices, self.global_batch, self.local_batch
        start = position + self.offset - stride

        def fetch() -> Batch:
            nonlocal start
            start += stride
            return read(indices(start, start + length), start)

        return fetch

    def _iterate_ahead(self, read: Reader, position: int, steps: int) -> Callable[[], Batch]:
        """Read the batches of some steps at once.

        What a batch takes besides its bytes, most of a small one, is then paid once for them all.
        """
        ahead: deque[Batch] = deque()
        stride, length = self.global_batch, self.local_batch
        first = position + self.offset

        def fetch() -> Batch:
            nonlocal first
            if not ahead:
                starts = range(first, first + steps * stride, stride)
                parts = [self.order.indices(start, start + length) for start in starts]
                ahead.extend(_cut(read(np.concatenate(parts), first), length))
                first += steps * stride
            return ahead.popleft()

        return fetch


def _prepared(read: Reader, prepare: Callable[[Batch], Batch]) -> Reader:
    return lambda indices, position: prepare(read(indices, position))


def _cut(batch: Batch, size: int) -> Iterator[Batch]:
    """Yield the batches of `size` samples that were read as one; autograd sees no link of them."""
    parts = [
        [_part(value, first, first + size) for first in range(0, len(value), size)]
        for value in batch.values()
    ]
    for values in zip(*parts, strict=True):
        yield dict(zip(batch, values, strict=True))


def _part(value: Any, start: int, stop: int) -> Any:
    if not isinstance(value, torch.Tensor):
        return value[start:stop]
    part = value[start:stop]
    # The same memory, and no view: it may be changed in place, whatever becomes of the others.
    return value.new_empty(0).set_(
        value.untyped_storage(), part.storage_offset(), part.size(), part.stride()
    )


def open_loader(source: BatchSource, position: int) -> DataLoader[Any]:
    """Return torch's loader with worker processes, in the same order as without."""
    return DataLoader(
        _BatchDataset(source.dataset, source.order.seed),
        sampler=_Positions(source, position),
        batch_size=None,
        num_workers=source.num_workers,
        pin_memory=source.pin_memory,
        worker_init_fn=_start_worker,
        # A generator of its own: opening a loader must not draw from the global one.
        generator=torch.Generator().manual_seed(source.order.seed),
        persistent_workers=True,
    )


def _start_worker(number: int) -> None:
    """Prepare a loader process: interrupts that its whole group gets are the trainer's business.

    It outlives the first SIGTERM, which a scheduler sends to every process of a job, so that the
    trainer gets the batches of its last step. SIGUSR2 makes it write its stack to stderr.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _die_next_time)
    if hasattr(signal, "SIGUSR2"):
        faulthandler.register(signal.SIGUSR2, file=2)
    seed_worker(number)


def _die_next_time(number: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(number, signal.SIG_DFL)


class _Positions(Sampler[Any]):
    def __init__(self, source: BatchSource, position: int) -> None:
        self.source = source
        self.position = position

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        source = self.source
        start = self.position + source.offset
        while True:
            yield start, source.order.indices(start, start + source.local_batch)
            start += source.global_batch


class _BatchDataset(Dataset[Any]):
    """Reads whole batches in a worker, with every global generator keyed to the batch."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.read: Reader | None = None

    def __getitem__(self, key: tuple[int, NDArray[np.int64]]) -> Batch:
        if self.read is None:  # made in the worker: a closure does not travel to it
            self.read = make_reader(self.dataset, self.seed)
        position, indices = key
        seed_everything_once(self.seed, "data", position)
        return self.read(indices, position)
