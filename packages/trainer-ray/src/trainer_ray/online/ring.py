"""Frames of the newest episodes in one array for each key; the oldest episode goes as a whole.

An episode never wraps around: it begins at the head, or at row 0 once the head has passed
`capacity`. So its windows are plain slices, and no frame is evicted for want of a contiguous place:
the arrays may become longer than `capacity`, by less than the longest episode.

A frame has a number that no other has, also after its row was written again. Numbers of the frames
in the ring are consecutive, so that finding a number's row takes two additions.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trainer_core.windows import EdgeDistances

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

__all__ = ["Column", "Ring", "Span"]

_FIRST_ROWS = 1024


class Column(NamedTuple):
    """What a key holds.

    Attributes:
        shape: Shape of one frame.
        dtype: Type of its numbers.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Span(NamedTuple):
    """An episode of the ring.

    Attributes:
        row: Its first row.
        length: Its frames.
        version: Step of the weights that acted.
        is_success: Whether it solved its task.
    """

    row: int
    length: int
    version: int
    is_success: bool


class Ring:
    """The newest episodes that have no more than `capacity` frames together.

    Args:
        columns: Shape and type of a frame of each key.
        capacity: Frames.
        first_frame: Number of the first frame that is added.
        on_evict: Called with the first row and the length of an episode that goes.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        capacity: int,
        *,
        first_frame: int = 0,
        on_evict: Callable[[int, int], None] = lambda _row, _length: None,
    ) -> None:
        self.capacity = capacity
        self.episodes: deque[Span] = deque()
        self.arrays: dict[str, NDArray[Any]] = {
            key: np.empty((0, *column.shape), column.dtype) for key, column in columns.items()
        }
        self.before = np.empty(0, np.int32)
        self.after = np.empty(0, np.int32)
        self._versions = np.empty(0, np.int64)
        self.first_frame = first_frame
        self.end_frame = first_frame
        self._head = 0
        self._gap = 0  # where the rows of the last round end; below it the oldest episodes lie
        self._on_evict = on_evict

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.end_frame - self.first_frame

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, used or not."""
        own = self.before.nbytes + self.after.nbytes + self._versions.nbytes
        return own + sum(array.nbytes for array in self.arrays.values())

    def reserve(self, lengths: Sequence[int]) -> None:
        """Make the arrays long enough for episodes of these lengths.

        Raises:
            MemoryError: There is no such memory; the ring is as it was.
        """
        if not lengths:
            return
        most = self.capacity + max(lengths)
        wanted = min(self._head + sum(lengths), most)
        if wanted <= len(self.before):
            return
        rows = max(wanted, min(2 * len(self.before), most), min(_FIRST_ROWS, most))
        arrays = {key: _longer(array, rows) for key, array in self.arrays.items()}
        before, after = _longer(self.before, rows), _longer(self.after, rows)
        self._versions = _longer(self._versions, rows)
        self.arrays, self.before, self.after = arrays, before, after

    def append(
        self, columns: Mapping[str, NDArray[Any]], *, version: int = 0, is_success: bool = True
    ) -> int:
        """Add an episode, evict what has no place beside it, and return its first row.

        Args:
            columns: `(T, *shape)` of each key, T at least 1 and at most `capacity`.
            version: Step of the weights that acted.
            is_success: Whether it solved its task.
        """
        length = len(next(iter(columns.values())))
        while len(self) + length > self.capacity:
            self._evict()
        self.reserve([length])
        if self._head >= self.capacity:
            self._gap, self._head = self._head, 0
        row = self._head
        rows = slice(row, row + length)
        for key, array in self.arrays.items():
            array[rows] = columns[key]
        self.before[rows] = np.arange(length, dtype=np.int32)
        self.after[rows] = np.arange(length - 1, -1, -1, dtype=np.int32)
        self._versions[rows] = version
        self._head += length
        self.end_frame += length
        self.episodes.append(Span(row, length, version, is_success))
        return row

    def _evict(self) -> None:
        span = self.episodes.popleft()
        self.first_frame += span.length
        self._on_evict(span.row, span.length)

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of frames that are counted from the oldest one, `(B,)`."""
        if not self.episodes:
            return places
        rows = places + self.episodes[0].row
        if self.episodes[0].row >= self._head:  # the oldest ones are of the round before
            rows = np.where(rows < self._gap, rows, rows - self._gap)
        return rows

    def frames(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the frames in rows, `(B,)`."""
        oldest = self.episodes[0].row
        frames: NDArray[np.int64] = rows - oldest + self.first_frame
        return np.where(rows < oldest, frames + self._gap, frames)

    def find(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the rows of those of the frames that are still there, and which those are."""
        is_there = (frames >= self.first_frame) & (frames < self.end_frame)
        return self.rows(frames[is_there] - self.first_frame), is_there

    def edges(self, rows: NDArray[np.int64]) -> EdgeDistances:
        """Return how far rows are from the edges of their episodes."""
        return EdgeDistances(rows, self.before, self.after)

    def versions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which weights acted in rows, int64 `(B,)`."""
        return self._versions[rows]


def _longer(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return the array with more rows; what is not written yet takes no memory."""
    dtype: DTypeLike = array.dtype
    longer = np.empty((rows, *array.shape[1:]), dtype)
    longer[: len(array)] = array
    return longer
