"""Rows drawn in proportion to their priorities, whole batches at a time.

Source: Schaul et al. 2016, Prioritized Experience Replay, section 3.3 and appendix B.2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SumTree", "importance"]


class SumTree:
    """Weights of rows, and the sums of neighbours above them, level by level.

    Every sum is added anew from the two below it, so that nothing drifts.
    """

    def __init__(self) -> None:
        self._levels = [np.zeros(1)]

    def __len__(self) -> int:
        """Return the number of rows there is place for, a power of two."""
        return len(self._levels[0])

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self._levels[-1][0])

    @property
    def nbytes(self) -> int:
        """Bytes of all levels."""
        return sum(level.nbytes for level in self._levels)

    def weights(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the weights of rows, float64 `(B,)`."""
        return self._levels[0][rows]

    def fill(self, first: int, count: int, weight: float) -> None:
        """Give `count` rows from `first` on one weight, 0 or more."""
        self._grow(first + count)
        self._levels[0][first : first + count] = weight
        end = first + count
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            first, end = first // 2, (end + 1) // 2
            level[first:end] = below[2 * first : 2 * end : 2] + below[2 * first + 1 : 2 * end : 2]

    def set(self, rows: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Give rows weights, 0 or more; of a row that is named twice the last one counts."""
        if not len(rows):
            return
        self._grow(int(rows.max()) + 1)
        self._levels[0][rows] = weights
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            rows = np.unique(rows // 2)
            level[rows] = below[2 * rows] + below[2 * rows + 1]

    def draw(self, size: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Return rows, int64 `(size,)`, each with the probability of its share of the total.

        The total is cut into as many equal parts as there are draws, and each part gives one: fewer
        repetitions than with independent draws, the same expectation. The order is random.
        A row of weight 0 is never drawn; the total must be positive.
        """
        rest = (random.permutation(size) + random.random(size)) * (self.total / size)
        rows = np.zeros(size, np.int64)
        for level in reversed(self._levels[:-1]):
            rows *= 2
            left = level[rows]
            goes_right = (rest >= left) & (level[rows + 1] > 0)
            rest = np.where(goes_right, rest - left, np.minimum(rest, left))
            rows += goes_right
        return rows

    def _grow(self, rows: int) -> None:
        """Double until there is place for so many rows."""
        while len(self) < rows:
            self._levels = [np.concatenate([level, np.zeros_like(level)]) for level in self._levels]
            self._levels.append(self._levels[-1].sum(keepdims=True))


def importance(shares: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Return the weights that make a prioritised batch an unbiased one, the largest 1.

    They are those of full correction; raised to the power beta they correct that far.

    Args:
        shares: Probability of each sample of the batch, `(B,)`, positive.
        frames: How many frames there are to draw from.

    Source: Schaul et al. 2016, section 3.4: `(1 / (N P))^beta / max w`.
    """
    weights = 1.0 / (frames * shares)
    scaled: NDArray[np.float64] = weights / weights.max()
    return scaled
