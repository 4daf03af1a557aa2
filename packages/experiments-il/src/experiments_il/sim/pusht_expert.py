"""A scripted expert for PushT: it tries pushes in its head and makes the best one."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.sim.pusht_environment import make_pusht
from experiments_il.sim.pusht_paths import AGENT_RADIUS, SIDE, Ways, corners_of, edges_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from experiments_il.sim.pusht_environment import PushTEnvironment
    from experiments_il.sim.pusht_paths import Point

__all__ = ["PushingExpert"]

_GAP = 5.0  # between agent and block before a push
_REACH = (22.0, 490.0)
_PACE = 24.0  # of a walk, in pixels a step
_FAST, _SLOW = 14.0, 6.0  # of a push
_FAR, _CLOSE = 60.0, 12.0  # off the goal: there only fast, or only slow pushes are tried
_PATIENCE = 4.0  # a push is given up once it is so much worse than at its best
_LONGEST_PUSH = 20
_TILTS = (-0.4, 0.0, 0.4)  # of a push against the normal of the edge, in radians
_SPACING = 22.0  # between the points of an edge that are tried
_REHEARSED = 8
_OVERHEAD = 25  # steps that a push costs besides its own, when pushes are compared
_MARGIN = 45.0  # the block should keep away from the walls, where it cannot be pushed back
_DWELL = 3  # steps until the agent rests before a push
_RETREAT = 24.0
_STUMBLE = 30.0
_SUBSTEPS = 10


class PushingExpert:
    """Plans push after push with a copy of the simulator.

    Pushes against all edges, at several points, angles and paces are tried from where they begin;
    the most promising are rehearsed with the walk there. The one that brings the corners of the
    block nearest to their goal for the steps it takes is carried out. If none helps, the agent
    stumbles about.

    Args:
        environment: Where it acts.
        random: Decides where it stumbles to.
    """

    def __init__(self, environment: PushTEnvironment, random: np.random.Generator) -> None:
        self._real = environment.simulation
        self._model = make_pusht()
        self._model.reset(seed=0)
        self._random = random
        goal = self._real.goal_pose
        self._goal = corners_of(goal[:2], float(goal[2]))
        self._actions: deque[Point] = deque()

    def __call__(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the position to draw the agent to.

        Args:
            state: Of a `PushTEnvironment`.
        """
        if not self._actions:
            self._actions.extend(self._plan(state))
        return self._actions.popleft()

    def _plan(self, state: Point) -> list[Point]:
        agent, block, angle = state[:2], state[2:4], float(state[4])
        now = self._cost(block, angle)
        ways = Ways(agent, block, angle)
        promising: list[tuple[float, list[Point]]] = []
        for start, direction in _pushes(block, angle):
            if not ways.reaches(start):
                continue
            walk = ways.walk(start, _PACE)
            for pace in _paces(now):
                targets = _straight(start, direction * pace)
                costs = self._try(start, targets, block, angle)
                lengths = len(walk) + _OVERHEAD + np.arange(1, len(costs) + 1)
                gains = (now - np.array(costs)) / lengths
                if len(gains) and gains.max() > 0:
                    pushes = targets[: int(gains.argmax()) + 1]
                    retreat = pushes[-1] - _RETREAT * direction
                    actions = [*walk, *[start] * _DWELL, *pushes, retreat]
                    promising.append((float(gains.max()), actions))
        promising.sort(key=lambda each: -each[0])
        return self._choose(state, now, promising[:_REHEARSED])

    def _choose(
        self, state: Point, now: float, promising: list[tuple[float, list[Point]]]
    ) -> list[Point]:
        """Return the actions with the largest gain in a rehearsal from where the agent is."""
        best = 0.0
        chosen = [state[:2] + _STUMBLE * self._random.normal(size=2)] * 4
        for promised, actions in promising:
            if promised <= best:
                break
            gain = (now - self._rehearse(state, actions)) / (len(actions) + _OVERHEAD)
            if gain > best:
                best, chosen = gain, actions
        return chosen

    def _cost(self, position: Sequence[float] | Point, angle: float) -> float:
        """Return how far the block is from its goal, in pixels: the mean over its corners."""
        corners = corners_of(position, angle)
        off = float(np.linalg.norm(corners - self._goal, axis=1).mean())
        return off + float(np.abs(corners - corners.clip(_MARGIN, SIDE - _MARGIN)).max())

    def _try(self, start: Point, targets: list[Point], block: Point, angle: float) -> list[float]:
        """Return the costs after the targets, beginning at rest before the block."""
        self._place(start, (0.0, 0.0), block, angle)
        costs: list[float] = []
        best = math.inf
        for target in targets:
            costs.append(self._advance(target))
            best = min(best, costs[-1])
            if costs[-1] > best + _PATIENCE:
                break
        return costs

    def _rehearse(self, state: Point, actions: list[Point]) -> float:
        """Return the cost after all the actions, beginning as the real agent is now."""
        velocity = self._real.agent.velocity
        self._place(state[:2], tuple(velocity), state[2:4], float(state[4]))
        return [self._advance(target) for target in actions][-1]

    def _place(self, agent: Point, velocity: Any, block: Point, angle: float) -> None:
        model = self._model
        model.block.angle = angle  # before the position: it turns about the centre of gravity
        model.block.position = tuple(block)
        model.agent.position = tuple(agent)
        model.agent.velocity = velocity
        for body in (model.block, model.agent):
            model.space.reindex_shapes_for_body(body)

    def _advance(self, target: Point) -> float:
        """Do what the simulator does in a step, without its pictures; return the cost."""
        model, agent = self._model, self._model.agent
        x, y = float(target[0]), float(target[1])
        for _ in range(_SUBSTEPS):
            (px, py), (vx, vy) = agent.position, agent.velocity
            pull_x = model.k_p * (x - px) - model.k_v * vx
            pull_y = model.k_p * (y - py) - model.k_v * vy
            agent.velocity = (vx + pull_x * model.dt, vy + pull_y * model.dt)
            model.space.step(model.dt)
        return self._cost(model.block.position, model.block.angle)


def _pushes(block: Point, angle: float) -> Iterator[tuple[Point, Point]]:
    """Return where pushes may begin, and their directions."""
    for start, stop, normal in edges_of(block, angle):
        along = stop - start
        length = float(np.linalg.norm(along))
        for share in np.linspace(0.1, 0.9, max(2, round(length / _SPACING))):
            point = start + share * along + normal * (AGENT_RADIUS + _GAP)
            if not _is_within_reach(point):
                continue
            for tilt in _TILTS:
                yield point, -normal * math.cos(tilt) + along / length * math.sin(tilt)


def _paces(cost: float) -> tuple[float, ...]:
    """Return the paces that are worth trying so far from the goal."""
    if cost > _FAR:
        return (_FAST,)
    return (_SLOW,) if cost < _CLOSE else (_FAST, _SLOW)


def _straight(start: Point, step: Point) -> list[Point]:
    """Return the targets of a push as far as the agent reaches."""
    targets: list[Point] = []
    for number in range(1, _LONGEST_PUSH + 1):
        target = start + step * number
        if not _is_within_reach(target):
            break
        targets.append(target)
    return targets


def _is_within_reach(point: Point) -> bool:
    return bool(_REACH[0] <= point.min() and point.max() <= _REACH[1])
