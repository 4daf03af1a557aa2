"""The components `eval.pusht` and `data.pusht`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments_il.sim.demonstrations import Demonstrations
from experiments_il.sim.evaluator import SimulatorEvaluator
from experiments_il.sim.pusht_environment import require_pusht
from experiments_il.sim.simulators import PUSHT, require_named_task

if TYPE_CHECKING:
    from policy_constructor.ranges import Positive

__all__ = ["PushTDemonstrations", "PushTEvaluator"]


class PushTEvaluator(SimulatorEvaluator):
    """Plays a policy in PushT; an episode is solved at 95 % coverage.

    Observations are those of the data sets `lerobot/pusht*`: `observation.state` `(2,)` (the
    agent), `observation.environment_state` `(16,)` (corners of the T), both in pixels of 0 to 512;
    `observation.full_state` `(18,)` is the two together; the camera of `cameras` is called `top`.

    Args:
        task: `push-t`, the only one.
        episodes: Episodes to play. The interval narrows with the root of their number.
        max_steps: Longest episode, ten steps a second.
        settings: What all evaluators in simulators take.

    Raises:
        MissingPackageError: gym-pusht, or PyAV for videos, is not installed.
        UserError: A number is out of its range, or there is no such camera.
    """

    parameter_check: ClassVar = "experiments_il.sim.evaluation_check:check_pusht"
    simulator = PUSHT

    def __init__(
        self,
        task: Literal["push-t"] = "push-t",
        episodes: Positive = 50,
        max_steps: Positive = 300,
        **settings: Any,
    ) -> None:
        super().__init__(task, episodes=episodes, max_steps=max_steps, **settings)

    def require_task(self, task: str) -> None:
        """Check that PushT is installed; it has one task."""
        require_named_task(PUSHT, task)
        require_pusht()

    def require_pictures(self) -> None:
        """PushT draws everywhere."""


class PushTDemonstrations(Demonstrations):
    """Records demonstrations of PushT into `root` unless they are there; reads them.

    The data set has `observation.state` float32 (2,), `observation.environment_state` float32
    (16,), `observation.full_state` float32 (18,), `action` float32 (2,) in pixels of 0 to 512,
    `next.reward`, `next.done` and `next.success`; with `cameras` also their pictures uint8 (3,
    height, width). The camera is called `top`.

    Args:
        root: The data set's folder. If it was recorded otherwise, that is an error: nothing is
            recorded over it.
        task: `push-t`, the only one.
        settings: What all recordings take, and `lerobot`.
    """

    batch_keys: ClassVar = "experiments_il.sim.recorded:describe_pusht"
    simulator = PUSHT

    def __init__(self, root: str, task: Literal["push-t"] = "push-t", **settings: Any) -> None:
        super().__init__(task, root, **settings)
