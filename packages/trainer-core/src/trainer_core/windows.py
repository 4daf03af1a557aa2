"""Windows of frames around rows, whole batches at a time; clamped at the edges of episodes.

Source: LeRobotDataset's `delta_timestamps` (lerobot 0.4.4 to 0.6.1), in integer frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["EdgeDistances", "Window"]


@final
class EdgeDistances:
    """How far the rows of one batch are from the edges of their episodes.

    Attributes:
        rows: Rows of the batch, int64 `(B,)`.
        before: Frames of the episode before each row, int32 `(B,)`.
        after: Frames of the episode after each row, int32 `(B,)`.
    """

    __slots__ = ("after", "before", "rows")

    def __init__(
        self, rows: NDArray[np.int64], before: NDArray[np.int32], after: NDArray[np.int32]
    ) -> None:
        self.rows = rows
        self.before = before[rows]
        self.after = after[rows]


@final
class Window:
    """The frames at fixed offsets from a row; a frame outside the episode repeats the edge.

    Args:
        offsets: Frames relative to the row, in any order; 0 is the row itself.
    """

    def __init__(self, offsets: Sequence[int]) -> None:
        self.offsets = np.asarray(offsets, np.int32)
        self.first = int(self.offsets.min())
        self.last = int(self.offsets.max())
        self.is_contiguous = bool(np.all(np.diff(self.offsets) == 1))

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.offsets)

    def rows(self, edges: EdgeDistances) -> NDArray[np.int64]:
        """Return the row of each frame, `(B, T)`, clamped to the episode."""
        return self._clamped(edges, slice(None))

    def is_pad(self, edges: EdgeDistances) -> NDArray[np.bool_]:
        """Return True where a frame lies outside the episode, `(B, T)`."""
        if self.first >= 0:
            return self.offsets > edges.after[:, None]
        pad: NDArray[np.bool_] = self.offsets < -edges.before[:, None]
        if self.last > 0:
            pad |= self.offsets > edges.after[:, None]
        return pad

    def gather(self, column: NDArray[Any], edges: EdgeDistances) -> NDArray[Any]:
        """Return the values of the frames, `(B, T, ...)`.

        Contiguous offsets read each window as one strided row, which copies whole runs of memory;
        the few windows that reach over an edge are then written again, frame by frame.

        Args:
            column: Values by row, C-contiguous `(rows, ...)`.
            edges: The batch.
        """
        return self.reader(column)(edges)

    def reader(self, column: NDArray[Any]) -> Callable[[EdgeDistances], NDArray[Any]]:
        """Return `gather` for one column, which spends nothing on it again for every batch."""
        length, first = len(self), self.first
        if not self.is_contiguous or length > len(column):
            return lambda edges: column[self.rows(edges)]
        shape, count = (length, *column.shape[1:]), len(column) - length + 1
        # Of items that numpy copies without looking into them.
        window = np.dtype((np.void, length * column.strides[0]))
        view: NDArray[Any] = np.ndarray((count,), window, column, 0, column.strides[:1])

        def read(edges: EdgeDistances) -> NDArray[Any]:
            start = edges.rows + first
            (crossing,) = self._reaches_over(edges).nonzero()
            start[crossing] = 0
            values = view[start].view(column.dtype).reshape(-1, *shape)
            if crossing.size:
                values[crossing] = column[self._clamped(edges, crossing)]
            return values

        return read

    def _reaches_over(self, edges: EdgeDistances) -> NDArray[np.bool_]:
        """Return True where a frame lies outside the episode, `(B,)`."""
        if self.first >= 0:
            return edges.after < self.last
        if self.last <= 0:
            return edges.before < -self.first
        return (edges.before < -self.first) | (edges.after < self.last)

    def _clamped(self, edges: EdgeDistances, places: Any) -> NDArray[np.int64]:
        """Return the rows of the frames of some samples."""
        inside = self.offsets[None]
        if self.first < 0:
            inside = np.maximum(inside, -edges.before[places, None])
        if self.last > 0:
            inside = np.minimum(inside, edges.after[places, None])
        rows: NDArray[np.int64] = edges.rows[places, None] + inside
        return rows
