"""Meta-World tasks in two modes: past an obstacle on the left or on the right.

A pillar, which is not drawn and touches nothing, stands between the hand and the goals. An episode
fails when the hand enters it; so does a policy that averages the two ways. Where the hand passes is
recognised from its path.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from experiments_il.data.toy_modes import share_modes
from experiments_il.sim.demonstrations import Demonstrations
from experiments_il.sim.evaluator import SimulatorEvaluator
from experiments_il.sim.metaworld_env import require_metaworld
from experiments_il.sim.metaworld_environment import MetaWorldEnvironment, scripted_expert
from experiments_il.sim.modes_simulator import METAWORLD_MODES, TASKS
from policy_constructor.spelling import nearest
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from experiments_il.sim.environment import Environment, Observation, Outcome
    from policy_constructor.ranges import Positive
    from trainer_core.protocols import EvaluationContext

__all__ = [
    "DetourEnvironment",
    "MetaWorldModesDemonstrations",
    "MetaWorldModesEvaluator",
    "either_way",
    "left_way",
    "right_way",
]

# Metres from where the hand begins.
_PILLAR_AHEAD = 0.09
_PILLAR_RADIUS = 0.04
_ASIDE = 0.1
_PAST = 0.13
_GAIN = 10.0  # of the expert's way around: full speed until 0.1 m before a target

_WAYS = ("left", "right")
_NO_WAY = "off"


class DetourEnvironment(MetaWorldEnvironment):
    """A Meta-World task with a pillar ahead of the hand, which ends the episode when entered.

    Arguments are those of `MetaWorldEnvironment`; the task is one of `TASKS`.

    Attributes:
        ways: Episode to `left`, `right`, or `off` if the hand did not pass the pillar.
        begin: Where the hand began, `(3,)`, metres.

    Raises:
        UserError: There is no such task.
    """

    def __init__(self, task: str, seed: int, **settings: Any) -> None:
        _require_task(task)
        super().__init__(task, seed, **settings)
        self.ways: dict[int, str] = {}
        self.begin: NDArray[np.float64] = np.zeros(3)
        self._episode = -1

    def reset(self, episode: int) -> Observation:
        """Begin an episode; see `MetaWorldEnvironment.reset`."""
        observation = super().reset(episode)
        self.begin = self.state[:3].copy()
        self._episode = episode
        self.ways[episode] = _NO_WAY
        return observation

    def step(self, action: NDArray[Any]) -> Outcome:
        """Do an action; entering the pillar ends the episode without success."""
        outcome = super().step(action)
        aside, ahead = (self.state[:3] - self.begin)[:2]
        has_hit = np.hypot(aside, ahead - _PILLAR_AHEAD) < _PILLAR_RADIUS
        if has_hit:
            self.ways[self._episode] = _NO_WAY
        elif self.ways[self._episode] == _NO_WAY and ahead >= _PILLAR_AHEAD:
            self.ways[self._episode] = _WAYS[int(aside > 0)]
        passed = not has_hit and self.ways[self._episode] != _NO_WAY
        return outcome._replace(
            success=outcome.success and passed, done=outcome.done or bool(has_hit)
        )


def _make_expert(
    environment: DetourEnvironment, random: np.random.Generator, *, side: int | None
) -> Callable[[NDArray[np.float64]], NDArray[Any]]:
    """Return an expert that goes around the pillar and then does what Meta-World's script does.

    Args:
        environment: Just reset.
        random: Chooses the side where it is not given.
        side: -1: left, 1: right; None: either, by chance.
    """
    chosen = side or int(random.choice((-1, 1)))
    script = scripted_expert(environment, random)
    beyond = environment.begin + np.array([chosen * _ASIDE, _PAST + 1 / _GAIN, 0.0])

    def act(state: NDArray[np.float64]) -> NDArray[Any]:
        action = script(state)
        if state[1] - environment.begin[1] >= _PAST:
            return action
        around: NDArray[Any] = np.append(_GAIN * (beyond - state[:3]), action[3])
        return around

    return act


either_way = partial(_make_expert, side=None)
left_way = partial(_make_expert, side=-1)
right_way = partial(_make_expert, side=1)


class MetaWorldModesDemonstrations(Demonstrations):
    """Records a Meta-World task in two modes: around a pillar on the left or on the right.

    The data set is that of `metaworld`. The expert `scripted` takes either side with probability
    1/2; `left` and `right` take theirs always.

    Args:
        task: `reach-v3` or `button-press-topdown-v3`.
        root: The data set's folder. If it was recorded otherwise, that is an error: nothing is
            recorded over it.
        settings: What all recordings take, and `lerobot`.
    """

    batch_keys: ClassVar = "experiments_il.sim.modes_simulator:describe_metaworld_modes"
    simulator = METAWORLD_MODES

    def __init__(self, task: str, root: str, **settings: Any) -> None:
        super().__init__(task, root, **settings)


class MetaWorldModesEvaluator(SimulatorEvaluator):
    """Plays a policy in a Meta-World task with a pillar in the way, and counts the ways it takes.

    An episode ends with its first success, when the hand enters the pillar, or after `max_steps`.
    Writes what `metaworld` writes, and `modes.json` with the way of each episode.

    Args:
        task: `reach-v3` or `button-press-topdown-v3`.
        episodes: Episodes to play; a seed has 50 different goals.
        max_steps: Longest episode, at most 500 (the environment's own limit).
        settings: What all evaluators in simulators take.

    Raises:
        MissingPackageError: Meta-World, or PyAV for videos, is not installed.
        UserError: There is no such task or camera, a number is out of its range, or pictures are
            asked for and cannot be drawn here.
    """

    parameter_check: ClassVar = "experiments_il.sim.modes_simulator:check_metaworld_modes"
    simulator = METAWORLD_MODES

    def __init__(
        self, task: str, episodes: Positive = 50, max_steps: Positive = 200, **settings: Any
    ) -> None:
        super().__init__(task, episodes=episodes, max_steps=max_steps, **settings)
        self._environments: list[DetourEnvironment] = []

    def require_task(self, task: str) -> None:
        """Check that Meta-World is installed and the task has two modes here.

        Raises:
            MissingPackageError: It is not installed.
            UserError: The task has not.
        """
        require_metaworld()
        _require_task(task)

    def make_environment(self, *, film: bool) -> Environment:
        """Return a new environment, and remember it for the ways taken in it."""
        environment = super().make_environment(film=film)
        assert isinstance(environment, DetourEnvironment)
        self._environments.append(environment)
        return environment

    def evaluate(self, context: EvaluationContext) -> dict[str, Any]:
        """Return what `metaworld` returns, and `off_mode`, `least_mode` and `mode_entropy`.

        `off_mode` is the share of episodes in which the hand did not pass the pillar, `least_mode`
        that of the way taken less often, `mode_entropy` 1 if both are taken alike.
        """
        self._environments = []
        result = super().evaluate(context)
        lines = (context.out_dir / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
        played = [json.loads(line)["episode"] for line in lines]
        ways: dict[int, str] = {}
        for environment in self._environments:
            ways |= environment.ways
        taken = {episode: ways.get(episode, _NO_WAY) for episode in played}
        text = json.dumps(taken, indent=1) + "\n"
        (context.out_dir / "modes.json").write_text(text, encoding="utf-8")
        numbers = [_WAYS.index(way) if way in _WAYS else -1 for way in taken.values()]
        found = share_modes(torch.tensor(numbers, dtype=torch.int64), len(_WAYS))
        return result | {
            "off_mode": found.off_mode,
            "least_mode": min(found.shares),
            "mode_entropy": found.entropy,
        }


def _require_task(task: str) -> None:
    if task not in TASKS:
        near = nearest(task, TASKS)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = (
            f"there is no obstacle for the task '{task}'; {' and '.join(TASKS)} have one{hint}"
        )
        raise UserError(message)
