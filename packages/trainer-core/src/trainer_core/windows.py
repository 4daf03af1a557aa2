"""Windows of frames around rows, whole batches at a time; clamped at the edges of episodes.

Source: LeRobotDataset's `delta_timestamps` (lerobot 0.4.4 to 0.6.1), in integer frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        inside = np.clip(self.offsets, -edges.before[:, None], edges.after[:, None])
        rows: NDArray[np.int64] = edges.rows[:, None] + inside
        return rows

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
        length = len(self)
        if not self.is_contiguous or length > len(column):
            return column[self.rows(edges)]
        view = np.lib.stride_tricks.as_strided(
            column,
            (len(column) - length + 1, length, *column.shape[1:]),
            (column.strides[0], *column.strides),
            writeable=False,
        )
        over = (edges.before < -self.first) | (edges.after < self.last)
        values: NDArray[Any] = view[np.where(over, 0, edges.rows + self.first)]
        crossing = np.flatnonzero(over)
        if crossing.size:
            inside = np.clip(
                self.offsets, -edges.before[crossing, None], edges.after[crossing, None]
            )
            values[crossing] = column[edges.rows[crossing, None] + inside]
        return values
