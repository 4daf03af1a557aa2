"""Arrays for the frames of batches, in memory that is used again when they are gone."""

from __future__ import annotations

import math
import threading
import weakref
from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FrameArray", "FrameMemory"]

_SMALL = 1 << 20
_KEPT = 2


@final
class FrameMemory:
    """Gives arrays; takes the memory of one back when no array, view or tensor of it is left.

    Fresh memory is zeroed by the system, page by page, as it is written to first. For the frames
    of a batch that takes as long as to copy them.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._taking = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without any memory."""
        return FrameMemory, ()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array of any content, C-contiguous."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < _SMALL:
            return np.empty(shape, dtype)
        memory = self._take(size)
        # Views of an array refer to the one that has no array beneath it: to this one.
        owner = np.frombuffer(memory, dtype)
        weakref.finalize(owner, self._free.append, memory).atexit = False
        return owner.reshape(shape)

    def _take(self, size: int) -> memoryview:
        with self._taking:  # what is given back meanwhile stands behind the others
            fitting = [place for place, free in enumerate(self._free) if free.nbytes == size]
            memory = self._free.pop(fitting[-1]) if fitting else None
            del self._free[: 1 - _KEPT]
        return np.empty(size, np.uint8).data if memory is None else memory


@final
class FrameArray:
    """Frames that are there already, as a `source.FrameReader`.

    Args:
        frames: By row, `(rows, channels, height, width)`.
    """

    def __init__(self, frames: NDArray[Any]) -> None:
        self._frames = frames
        self._memory = FrameMemory()

    def gather(self, rows: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the frames at some rows `(*rows.shape, channels, height, width)`."""
        if out is None:
            shape = (*rows.shape, *self._frames.shape[1:])
            out = self._memory.empty(shape, self._frames.dtype)
        return np.take(self._frames, rows, axis=0, out=out, mode="clip")
