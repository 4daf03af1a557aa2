"""Frames of the runs that play: each run decoded once, its windows cut from what is there."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from experiments_il.data.frame_memory import FrameMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from experiments_il.data.chunked_order import Runs
    from experiments_il.data.source import FrameReader

__all__ = ["RunBuffer"]


@dataclass
class _Block:
    """The frames that the windows of one run reach, from row `first` on.

    `left` of its samples are still to come; the frames lie in a slot of the buffer's array.
    """

    first: int
    slot: int
    left: int


@final
class RunBuffer:
    """Reads windows through the runs their samples are in.

    A run is forgotten when all of its samples were asked for. Where this process sees only some
    of them (it is one of several), the runs that were not asked for longest are.

    All runs share one array, whose memory the system gives when it is written to first: large pages
    once instead of small ones for every run, which cost a tenth of the time of decoding.

    Args:
        reader: Decodes frames.
        runs: The runs, in samples.
        rows: The row of each sample.
        spans: First row of each run's episode and the row after its last, `(2, runs)`.
        reach: First and last offset of the windows.
        in_flight: Runs that play at once.

    Attributes:
        decoded: Frames that were decoded so far.
    """

    def __init__(
        self,
        reader: FrameReader,
        runs: Runs,
        rows: NDArray[np.int64],
        spans: NDArray[np.int64],
        reach: tuple[int, int],
        in_flight: int,
    ) -> None:
        self.decoded = 0
        self._reader = reader
        first, last = rows[runs.start], rows[runs.start + runs.length - 1]
        self._starts = first
        self._length = runs.length
        self._begin = np.maximum(first + min(0, reach[0]), spans[0])
        self._end = np.minimum(last + max(0, reach[1]) + 1, spans[1])
        # Half-played runs may wait for the end of the epoch; a few runs more end in this batch.
        self._most = in_flight + in_flight // 4 + 2
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self._longest = int((self._end - self._begin).max())
        self._free = list(range(self._most + 1))
        self._array: NDArray[Any] | None = None
        self._memory = FrameMemory()

    def gather(self, rows: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[Any]:
        """Return frames `(*rows.shape, channels, height, width)`.

        Args:
            rows: Rows of the frames, `(B,)` or `(B, T)`.
            samples: Row of the sample that each belongs to, `(B,)`.
        """
        run = np.searchsorted(self._starts, samples, side="right") - 1
        frames: NDArray[Any] | None = None
        for number in np.unique(run).tolist():
            inside = np.flatnonzero(run == number)
            block = self._block(number)
            held = self._held(block)
            if frames is None:
                frames = self._memory.empty((*rows.shape, *held.shape[1:]), held.dtype)
            for position in inside.tolist():  # straight into place: an index array would copy twice
                wanted = rows[position] - block.first
                np.take(held, wanted, axis=0, out=frames[position], mode="clip")
            block.left -= len(inside)
            if block.left <= 0:
                self._free.append(self._blocks.pop(number).slot)
        if frames is None:
            return self._reader.gather(rows)
        return frames

    def _block(self, number: int) -> _Block:
        block = self._blocks.pop(number, None)
        if block is None:
            begin, end = int(self._begin[number]), int(self._end[number])
            slot = self._read(begin, end)
            block = _Block(begin, slot, int(self._length[number]))
        self._blocks[number] = block
        while len(self._blocks) > self._most:
            self._free.append(self._blocks.popitem(last=False)[1].slot)
        return block

    def _held(self, block: _Block) -> NDArray[Any]:
        """Return the frames of a run; what follows them is of other runs."""
        assert self._array is not None
        held: NDArray[Any] = self._array[block.slot]
        return held

    def _read(self, begin: int, end: int) -> int:
        """Decode some rows; return the slot where they are."""
        rows, slot = np.arange(begin, end), self._free[-1]
        if self._array is None:  # the first frames tell what frames are like
            frames = self._reader.gather(rows)
            shape = (self._most + 1, self._longest, *frames.shape[1:])
            self._array = np.empty(shape, frames.dtype)
            self._array[slot, : len(rows)] = frames
        else:
            self._reader.gather(rows, self._array[slot, : len(rows)])
        self.decoded += len(rows)
        return self._free.pop()
