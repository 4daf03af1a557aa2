"""A scripted expert for gym-aloha: way-points of the hands, turned into joints."""

from __future__ import annotations

import importlib
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from experiments_il.sim.aloha_environment import AlohaEnvironment

__all__ = ["scripted_expert"]

_HAND = {"left": "vx300s_left/gripper_link", "right": "vx300s_right/gripper_link"}
_JOINTS = {"left": slice(0, 6), "right": slice(8, 14)}
_MEETING = np.array([0.0, 0.5, 0.25])
_LEVEL = (0.0, 0.0, 0.0)
_DOWN = (0.0, float(np.deg2rad(60)), 0.0)  # the fingers point steeply down
_ROLLED = (float(np.deg2rad(90)), 0.0, 0.0)  # the fingers close from above and below
_TIP = 0.135  # from the wrist to between the fingertips, in metres
_ITERATIONS = 8
_DAMPING = 1e-4


class _WayPoint(NamedTuple):
    """Where a hand is at a step: position, rotation `(axis, angle)` from upright, opening."""

    step: int
    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    opening: float


class _Arm:
    """Follows way-points by inverse kinematics on a copy of the model."""

    def __init__(self, side: str, model: Any, data: Any) -> None:
        self._mujoco = importlib.import_module("mujoco")
        self._model, self._data = model, data
        self._joints = _JOINTS[side]
        self._body = model.body(_HAND[side]).id
        self._mujoco.mj_forward(model, data)
        self.position = self._tip()
        self._upright = np.array(data.xquat[self._body])
        self._points: list[_WayPoint] = []

    def follow(self, points: list[tuple[int, Any, Any, float]]) -> None:
        """Take the way-points of an episode."""
        self._points = [
            _WayPoint(step, np.asarray(position, float), np.asarray(rotation, float), opening)
            for step, position, rotation, opening in points
        ]

    def action(self, step: int) -> NDArray[np.float64]:
        """Return joints and gripper `(7,)` at a step."""
        steps = [point.step for point in self._points]
        position = _between(step, steps, [point.position for point in self._points])
        rotation = _between(step, steps, [point.rotation for point in self._points])
        opening = _between(step, steps, [np.array([point.opening]) for point in self._points])
        return np.concatenate([self._solve(position, rotation), opening])

    def _tip(self) -> NDArray[np.float64]:
        """Return where the fingertips meet."""
        axes = self._data.xmat[self._body].reshape(3, 3)
        tip: NDArray[np.float64] = self._data.xpos[self._body] + _TIP * axes[:, 0]
        return tip

    def _solve(self, position: Any, rotation: Any) -> NDArray[np.float64]:
        mujoco, model, data = self._mujoco, self._model, self._data
        wanted, turn = np.zeros(4), np.zeros(4)
        angle = float(np.linalg.norm(rotation))
        axis = rotation / angle if angle else np.array([1.0, 0, 0])
        mujoco.mju_axisAngle2Quat(turn, axis, angle)
        mujoco.mju_mulQuat(wanted, self._upright, turn)
        jacobian = np.zeros((6, model.nv))
        for _ in range(_ITERATIONS):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            tip = self._tip()
            mujoco.mj_jac(model, data, jacobian[:3], jacobian[3:], tip, self._body)
            inverse, off, spin = np.zeros(4), np.zeros(4), np.zeros(3)
            mujoco.mju_negQuat(inverse, data.xquat[self._body])
            mujoco.mju_mulQuat(off, wanted, inverse)
            mujoco.mju_quat2Vel(spin, off, 1.0)
            error = np.concatenate([position - tip, spin])
            own = jacobian[:, self._joints]
            move = own.T @ np.linalg.solve(own @ own.T + _DAMPING * np.eye(6), error)
            data.qpos[self._joints] += np.clip(move, -0.2, 0.2)
            first = self._joints.start
            low, high = model.jnt_range[first : first + 6].T
            data.qpos[self._joints] = np.clip(data.qpos[self._joints], low, high)
        return np.array(data.qpos[self._joints])


def scripted_expert(
    environment: AlohaEnvironment, random: np.random.Generator
) -> Callable[[NDArray[np.float64]], NDArray[Any]]:
    """Return what hands over the cube: the right hand grasps and lifts it, the left one takes it.

    Args:
        environment: Its episode has begun.
        random: Unused.

    Raises:
        UserError: The task has no script.
    """
    del random
    if environment.task != "transfer-cube":
        message = "gym-aloha's scripted expert can only transfer-cube, not insertion"
        raise UserError(message)
    mujoco = importlib.import_module("mujoco")
    model = environment.physics.model.ptr
    data = mujoco.MjData(model)
    data.qpos[:] = environment.physics.data.qpos
    left, right = _Arm("left", model, data), _Arm("right", model, data)
    cube = environment.state[14:17]
    above, around = cube + np.array([0, 0, 0.08]), cube - np.array([0, 0, 0.015])
    right.follow(
        [
            (0, right.position, _LEVEL, 0),
            (90, above, _DOWN, 1),
            (130, around, _DOWN, 1),
            (170, around, _DOWN, 0),
            (200, _at(0.05, 0), _DOWN, 0),
            (220, _at(0, 0), _DOWN, 0),
            (310, _at(0, 0), _DOWN, 1),
            (360, _at(0.1, 0), _DOWN, 1),
        ]
    )
    left.follow(
        [
            (0, left.position, _LEVEL, 0),
            (100, _at(-0.1, -0.02), _ROLLED, 1),
            (260, _at(0.02, -0.02), _ROLLED, 1),
            (310, _at(0.02, -0.02), _ROLLED, 0),
            (360, _at(-0.1, -0.02), _ROLLED, 0),
        ]
    )
    steps = itertools.count()

    def act(_state: NDArray[np.float64]) -> NDArray[Any]:
        step = next(steps)
        return np.concatenate([left.action(step), right.action(step)])

    return act


def _at(x: float, z: float) -> NDArray[np.float64]:
    """Return a place beside where the hands meet, x to the right and z upwards in metres."""
    place: NDArray[np.float64] = _MEETING + np.array([x, 0.0, z])
    return place


def _between(step: int, steps: list[int], values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the value at a step, linear between way-points and constant after the last."""
    table = np.stack(values)
    return np.array([np.interp(step, steps, table[:, column]) for column in range(table.shape[1])])
