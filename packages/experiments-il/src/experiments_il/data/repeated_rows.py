"""Rows of a batch that are read once each, straight into their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from experiments_il.data.frame_memory import FrameMemory

__all__ = ["RepeatedRows"]


@final
class RepeatedRows:
    """The different rows among those of a batch, and where each belongs.

    Args:
        rows: Rows of any shape.

    Attributes:
        rows: The different ones, ascending.
        places: The first place of each in the flattened rows: read it there, then `repeat`.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self.rows, self.places, inverse = np.unique(rows, return_index=True, return_inverse=True)
        self._shape = rows.shape
        self._first = self.places[inverse.ravel()]

    def frames(
        self, item: tuple[int, ...], memory: FrameMemory, out: NDArray[Any] | None
    ) -> NDArray[np.uint8]:
        """Return what receives the frames, uint8 `(rows.size, *item)`: `out` or a new array."""
        shape = (len(self._first), *item)
        return memory.empty(shape, np.uint8) if out is None else out.reshape(shape)

    def repeat(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Copy what was read to the other places of the same rows.

        Args:
            frames: As returned by `frames`.

        Returns:
            The same in the shape of the rows, `(*rows.shape, *item)`.
        """
        if len(self.rows) < len(self._first):
            for place in np.flatnonzero(self._first != np.arange(len(self._first))).tolist():
                frames[place] = frames[self._first[place]]
        return frames.reshape(*self._shape, *frames.shape[1:])
