"""Meta-World environments: one way to make them, for recording and for evaluation."""

from __future__ import annotations

import difflib
import warnings
from typing import TYPE_CHECKING, Any

from experiments_il.sim.importing import import_simulator
from trainer_core.errors import UserError

if TYPE_CHECKING:
    import gymnasium

__all__ = [
    "ACTION_DIM",
    "GOALS_PER_SEED",
    "make_env",
    "require_metaworld",
    "require_task",
    "task_names",
]

ACTION_DIM = 4
"""Displacement of the hand (3) and closing of the gripper (1), each in [-1, 1]."""
GOALS_PER_SEED = 50
"""Different goals before the sequence of a seed starts again."""
_PACKAGES = frozenset({"metaworld", "gymnasium", "mujoco"})


def make_env(task: str, seed: int) -> gymnasium.Env[Any, Any]:
    """Make a Meta-World environment with its goal visible and its goals fixed by `seed`.

    Episode k of the environment is a function of `(task, seed, k)`: `reset()` moves to the next of
    50 different goals, `reset(options={"episode": k})` to the k-th (from 0), and nothing of an
    episode reaches the next one. `reset(seed=...)` changes nothing. Observations are float64
    `(39,)`; copy them before keeping them.

    Args:
        task: A Meta-World v3 name such as `pick-place-v3`.
        seed: Which sequence of goals. Use different ones to record and to evaluate.

    Raises:
        MissingPackageError: Meta-World is not installed.
        UserError: There is no such task; the message names the nearest ones.
    """
    require_task(task)
    import gymnasium  # noqa: PLC0415 - optional package

    from experiments_il.sim.goal_sequence import GoalSequence  # noqa: PLC0415 - needs gymnasium

    with warnings.catch_warnings():
        # Fixed parts of the goal space are equal bounds on purpose.
        warnings.filterwarnings("ignore", message=".*Box observation space maximum and minimum")
        env: gymnasium.Env[Any, Any] = gymnasium.make(
            "Meta-World/MT1",
            env_name=task,
            seed=seed,
            disable_env_checker=True,
        )
    return GoalSequence(env)


def require_task(task: str) -> None:
    """Check that Meta-World is installed and has a task.

    Raises:
        MissingPackageError: Meta-World is not installed.
        UserError: There is no such task; the message names the nearest ones.
    """
    known = task_names()
    if task not in known:
        near = difflib.get_close_matches(task, known, n=3, cutoff=0.6)
        hint = (
            f"did you mean {' or '.join(repr(name) for name in near)}?"
            if near
            else f"there are {', '.join(known)}"
        )
        message = f"Meta-World has no task '{task}'; {hint}"
        raise UserError(message)


def task_names() -> tuple[str, ...]:
    """Return the names of the installed tasks, sorted.

    Raises:
        MissingPackageError: Meta-World is not installed.
    """
    require_metaworld()
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS  # noqa: PLC0415 - optional package

    return tuple(sorted(ALL_V3_ENVIRONMENTS))


def require_metaworld(need: str = "Meta-World") -> None:
    """Import Meta-World, or say how to install it.

    Args:
        need: What needs it, for the message.

    Raises:
        MissingPackageError: It is not installed.
        UserError: It is installed and its import fails, usually for want of OpenGL libraries.
    """
    import_simulator("metaworld", _PACKAGES, need, "metaworld")
