"""Draws a Meta-World state from above and from the side, for machines without OpenGL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    _Range: TypeAlias = tuple[float, float]
    _Disc: TypeAlias = tuple[NDArray[np.float64], float, tuple[int, int, int]]

__all__ = ["draw_state"]

_PANEL = 240
_X_RANGE = (-0.5, 0.5)
_Y_RANGE = (0.3, 1.1)
_Z_RANGE = (-0.05, 0.55)
_BACKGROUND = (244, 241, 234)
_TABLE = (190, 160, 120)
_GOAL = (60, 160, 80)
_OBJECT = (200, 60, 50)
_HAND = (50, 70, 160)


def draw_state(observation: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a picture `(240, 480, 3)`: the view from above, the view from the side.

    The goal is green, the object red, the hand blue; the hand's disc shrinks as the gripper
    closes.

    Args:
        observation: A Meta-World observation `(39,)`.
    """
    hand, grip, thing, goal = observation[:3], observation[3], observation[4:7], observation[36:39]
    closing = 7 + 6 * float(np.clip(grip, 0, 1))
    discs = ((goal, 9.0, _GOAL), (hand, closing, _HAND), (thing, 6.0, _OBJECT))
    above = _draw_panel(discs, (0, 1), (_X_RANGE, _Y_RANGE))
    side = _draw_panel(discs, (1, 2), (_Y_RANGE, _Z_RANGE))
    return np.concatenate([above, side], axis=1)


def _draw_panel(
    discs: tuple[_Disc, ...], axes: tuple[int, int], ranges: tuple[_Range, _Range]
) -> NDArray[np.uint8]:
    panel = np.full((_PANEL, _PANEL, 3), _BACKGROUND, dtype=np.uint8)
    panel[[0, -1], :] = panel[:, [0, -1]] = _TABLE
    rows, columns = np.ogrid[:_PANEL, :_PANEL]
    for point, radius, color in discs:
        column, row = (_to_pixel(point[axis], r) for axis, r in zip(axes, ranges, strict=True))
        panel[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = color
    return panel[::-1]


def _to_pixel(value: float, limits: _Range) -> float:
    low, high = limits
    return (value - low) / (high - low) * _PANEL
