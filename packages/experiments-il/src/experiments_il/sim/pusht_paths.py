"""Where the block of PushT is, and ways for the agent around it; all in pixels of 0 to 512."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Point: TypeAlias = NDArray[np.float64]

__all__ = ["AGENT_RADIUS", "SIDE", "Ways", "corners_of", "edges_of"]

SIDE = 512.0
AGENT_RADIUS = 15.0
_OUTLINE = np.array(
    [(-60, 0), (60, 0), (60, 30), (15, 30), (15, 120), (-15, 120), (-15, 30), (-60, 30)], float
)
_CELL = 12.0
_CELLS = int(SIDE / _CELL) + 1
_CLEARANCE = 3.0
_DETOUR = 20.0  # a cell in which the agent would touch the block costs as much as so many others
_NEAR = [move for move in itertools.product((-1, 0, 1), repeat=2) if move != (0, 0)]


def corners_of(position: Sequence[float] | Point, angle: float) -> NDArray[np.float64]:
    """Return the corners of the T `(8, 2)`, in order around it."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = _OUTLINE @ np.array([[cos, sin], [-sin, cos]])
    moved: NDArray[np.float64] = turned + np.array(tuple(position))
    return moved


def edges_of(position: Point, angle: float) -> Iterator[tuple[Point, Point, Point]]:
    """Return beginning, end and outward normal of each edge of the T."""
    corners = corners_of(position, angle)
    for start, stop in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = (stop - start) / np.linalg.norm(stop - start)
        yield start, stop, np.array([along[1], -along[0]])


class Ways:
    """Shortest ways from the agent to anywhere that go around the block.

    Args:
        agent: Where the agent is.
        block: Where the block is.
        angle: Its angle in radians.
    """

    def __init__(self, agent: Point, block: Point, angle: float) -> None:
        self._agent = agent
        self._distances = _flood(_cell(agent), _blocked(block, angle))

    def reaches(self, goal: Point) -> bool:
        """Return whether there is a way that touches the block in a few cells at most."""
        return bool(self._distances[_cell(goal)] < 3 * _DETOUR)

    def walk(self, goal: Point, pace: float) -> list[Point]:
        """Return points on the way to the goal, at most `pace` apart, the goal last."""
        cells = [_cell(goal)]
        while self._distances[cells[-1]] > 0:
            i, j = cells[-1]
            near = [(i + di, j + dj) for di, dj in _NEAR if _is_inside(i + di, j + dj)]
            cells.append(min(near, key=lambda cell: self._distances[cell]))
        corners = [np.array(cell, float) * _CELL for cell in reversed(cells)][1:-1]
        points: list[Point] = []
        for start, stop in itertools.pairwise([self._agent, *corners, goal]):
            count = max(1, math.ceil(float(np.linalg.norm(stop - start)) / pace))
            points += [start + (stop - start) * k / count for k in range(1, count + 1)]
        return points


def _cell(point: Point) -> tuple[int, int]:
    x, y = (min(max(round(float(value) / _CELL), 0), _CELLS - 1) for value in point)
    return x, y


def _is_inside(i: int, j: int) -> bool:
    return 0 <= i < _CELLS and 0 <= j < _CELLS


def _blocked(block: Point, angle: float) -> NDArray[np.bool_]:
    """Return the cells in which the agent would touch block or wall."""
    axis = np.arange(_CELLS) * _CELL
    x, y = np.meshgrid(axis, axis, indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    u = cos * (x - block[0]) + sin * (y - block[1])
    v = cos * (y - block[1]) - sin * (x - block[0])
    bar = np.hypot(np.maximum(np.abs(u) - 60, 0), np.maximum(np.abs(v - 15) - 15, 0))
    stem = np.hypot(np.maximum(np.abs(u) - 15, 0), np.maximum(np.abs(v - 75) - 45, 0))
    edge = np.minimum(np.minimum(x, SIDE - x), np.minimum(y, SIDE - y))
    touches = np.minimum(bar, stem) < AGENT_RADIUS + _CLEARANCE
    blocked: NDArray[np.bool_] = touches | (edge < AGENT_RADIUS)
    return blocked


def _flood(first: tuple[int, int], blocked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the length of the shortest way to each cell, in cells (Dijkstra)."""
    distances = np.full(blocked.shape, np.inf)
    distances[first] = 0.0
    queue = [(0.0, first)]
    while queue:
        distance, (i, j) = heapq.heappop(queue)
        if distance > distances[i, j]:
            continue
        for di, dj in _NEAR:
            cell = i + di, j + dj
            if not _is_inside(*cell):
                continue
            further = distance + math.hypot(di, dj) + (_DETOUR if blocked[cell] else 0.0)
            if further < distances[cell]:
                distances[cell] = further
                heapq.heappush(queue, (further, cell))
    return distances
