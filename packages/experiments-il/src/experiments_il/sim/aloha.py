"""The components `eval.aloha` and `data.aloha`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments_il.sim.aloha_environment import require_aloha
from experiments_il.sim.demonstrations import Demonstrations
from experiments_il.sim.evaluator import SimulatorEvaluator
from experiments_il.sim.simulators import ALOHA, require_named_task

if TYPE_CHECKING:
    from policy_constructor.ranges import Positive

__all__ = ["AlohaDemonstrations", "AlohaEvaluator"]


class AlohaEvaluator(SimulatorEvaluator):
    """Plays a policy with the two arms of gym-aloha; solved where its reward is 4.

    Observations are `observation.state` `(14,)` (joints in radians, grippers in [0, 1]),
    `observation.environment_state` (position and quaternion of the cube `(7,)`, or of peg and
    socket `(14,)`), `observation.full_state` (both) and those of `cameras`.

    Args:
        task: `transfer-cube` or `insertion`.
        episodes: Episodes to play. The interval narrows with the root of their number.
        max_steps: Longest episode, fifty steps a second.
        settings: What all evaluators in simulators take.

    Raises:
        MissingPackageError: gym-aloha, or PyAV for videos, is not installed.
        UserError: There is no such task or camera, a number is out of its range, or pictures are
            asked for and cannot be drawn here.
    """

    parameter_check: ClassVar = "experiments_il.sim.evaluation_check:check_aloha"
    simulator = ALOHA

    def __init__(
        self,
        task: Literal["transfer-cube", "insertion"] = "transfer-cube",
        episodes: Positive = 50,
        max_steps: Positive = 400,
        **settings: Any,
    ) -> None:
        super().__init__(task, episodes=episodes, max_steps=max_steps, **settings)

    def require_task(self, task: str) -> None:
        """Check that gym-aloha is installed and has a task."""
        require_named_task(ALOHA, task)
        require_aloha()


class AlohaDemonstrations(Demonstrations):
    """Records demonstrations of gym-aloha into `root` unless they are there; reads them.

    The data set has `observation.state` float32 (14,), `observation.environment_state` float32
    (7,), `observation.full_state` float32 (21,), `action` float32 (14,) (joints in radians,
    grippers in [0, 1]), `next.reward`, `next.done` and `next.success`; with `cameras` also their
    pictures uint8 (3, height, width). Only `transfer-cube` has an expert.

    Args:
        root: The data set's folder. If it was recorded otherwise, that is an error: nothing is
            recorded over it.
        task: `transfer-cube`.
        settings: What all recordings take, and `lerobot`.
    """

    batch_keys: ClassVar = "experiments_il.sim.recorded:describe_aloha"
    simulator = ALOHA

    def __init__(
        self, root: str, task: Literal["transfer-cube"] = "transfer-cube", **settings: Any
    ) -> None:
        super().__init__(task, root, **settings)
