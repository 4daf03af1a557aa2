"""Success rate of a policy in a simulator, with its interval, a table of episodes and videos."""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from experiments_il.execution import Executor
from experiments_il.sim.lane import EpisodeRecord, Lane, SimulationError
from experiments_il.sim.lockstep import play_in_lockstep
from experiments_il.sim.rendering import prepare_rendering
from experiments_il.sim.rollouts import Rollouts
from experiments_il.sim.simulators import METAWORLD, Simulator, check_cameras
from experiments_il.sim.statistics import wilson_interval
from experiments_il.sim.video import require_encoder
from trainer_core.errors import UserError
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from experiments_il.policy import Policy
    from experiments_il.sim.environment import Environment
    from policy_constructor.ranges import Count, Positive
    from trainer_core.online import Episode
    from trainer_core.protocols import EvaluationContext

__all__ = ["EpisodeRecord", "MetaWorldEvaluator", "SimulationError", "SimulatorEvaluator"]

_LOG = logging.getLogger(__name__)


class SimulatorEvaluator(ABC):
    """Plays a policy on episodes it has not been shown, several environments in lockstep.

    An episode ends with its first success or after `max_steps`. Writes `episodes.jsonl` and
    `videos/episode-000.mp4`, ... into the evaluation's folder. An episode in which the simulator
    breaks down is written down with its error and does not count.

    Args:
        task: Name of the task.
        episodes: Episodes to play. The interval narrows with the root of their number; 50 gives
            +-8 points at 90 %.
        seed: Seed of the episodes; take another one than the demonstrations'.
        max_steps: Longest episode.
        num_envs: Environments played in lockstep, one batch for the policy. More make fewer and
            larger batches. Results do not depend on it.
        video_episodes: Episodes recorded as video, from the first on; 0: none.
        cameras: Key of an observation to the name of the camera whose picture it holds; as in the
            recording. None: no pictures.
        image_size: Height and width of these pictures; as in the recording.

    Raises:
        MissingPackageError: The simulator, or PyAV for videos, is not installed.
        UserError: There is no such task or camera, a number is out of its range, or pictures are
            asked for and cannot be drawn here.
    """

    simulator: ClassVar[Simulator]

    def __init__(
        self,
        task: str,
        *,
        episodes: Positive = 50,
        seed: int = 1000,
        max_steps: Positive = 300,
        num_envs: Positive = 5,
        video_episodes: Count = 1,
        cameras: dict[str, str] | None = None,
        image_size: Sequence[int] = (64, 64),
    ) -> None:
        for name, value, least in (
            ("episodes", episodes, 1),
            ("max_steps", max_steps, 1),
            ("num_envs", num_envs, 1),
            ("video_episodes", video_episodes, 0),
        ):
            if value < least:
                message = f"evaluation.{name} must be at least {least}, got {value}"
                raise UserError(message)
        self.require_task(task)
        check_cameras(self.simulator, cameras or {}, image_size)
        if cameras:
            self.require_pictures()
        if video_episodes:
            require_encoder()
        self.task = task
        self.episodes = episodes
        self.seed = seed
        self.max_steps = max_steps
        self.num_envs = min(num_envs, episodes)
        self.video_episodes = min(video_episodes, episodes)
        self.cameras = dict(cameras or {})
        self.image_size = tuple(image_size)

    @abstractmethod
    def require_task(self, task: str) -> None:
        """Check that the simulator is installed and has a task.

        Raises:
            MissingPackageError: It is not installed.
            UserError: It has no such task.
        """

    def require_pictures(self) -> None:
        """Check that pictures for a policy can be drawn on this machine.

        Raises:
            UserError: They cannot.
        """
        prepare_rendering()

    def make_environment(self, *, film: bool) -> Environment:
        """Return a new environment.

        Args:
            film: Whether `render()` will be called.
        """
        return self.simulator.make(
            self.task, self.seed, cameras=self.cameras, image_size=self.image_size, film=film
        )

    def evaluate(self, context: EvaluationContext) -> dict[str, Any]:
        """Play the episodes and return `success_rate`, `n`, `ci95`, `mean_steps`, `mean_return`.

        An interruption ends it early with the episodes played so far; without any, only `n` is
        returned. Episodes in which the simulator broke down are counted as `broken`.

        Raises:
            UserError: The trainer has no policy, or the policy needs what the simulator lacks.
            SimulationError: The simulator broke down in every episode.
        """
        policy = self._find_policy(context)
        began = time.perf_counter()
        context.out_dir.mkdir(parents=True, exist_ok=True)
        lanes: list[Lane] = []
        try:
            for number in range(self.num_envs):
                lanes.append(self._make_lane(number, context.out_dir))
                if number == 0:
                    self._check_policy(policy, lanes[0].environment)
            records = self._play(policy, lanes, context)
        finally:
            for lane in lanes:
                lane.close()
        records.sort(key=lambda record: record.episode)
        lines = [json.dumps(record.to_json()) + "\n" for record in records]
        (context.out_dir / "episodes.jsonl").write_text("".join(lines), encoding="utf-8")
        return _summarize(records) | {"seconds": time.perf_counter() - began}

    def _play(
        self, policy: Policy, lanes: list[Lane], context: EvaluationContext
    ) -> list[EpisodeRecord]:
        records: list[EpisodeRecord] = []

        def keep(_lane: Lane, record: EpisodeRecord) -> None:
            records.append(record)
            if record.error:
                title = self.simulator.title
                _LOG.error("%s broke down in episode %d: %s", title, record.episode, record.error)
            succeeded = sum(each.success for each in records)
            context.progress(len(records), self.episodes, f"{succeeded} succeeded")

        play_in_lockstep(
            Executor(policy, seed=self.seed, device=context.device),
            lanes,
            iter(range(self.episodes)),
            keep,
            context.interrupted,
        )
        return records

    def collect(
        self, context: EvaluationContext, send: Callable[[Episode], None], *, first: int = 0
    ) -> None:
        """Play episodes until `context.interrupted()`; none starts as one of an evaluation does.

        What is sent holds the observations before each step, the actions done, `next.reward`,
        `next.success`, `next.done`, `frame_index` and `timestamp`. An episode in which the
        simulator broke down is sent with its error, without frames.

        Args:
            context: What acts. Its models may get other weights during `send`.
            send: Called with every episode that is over.
            first: Number of the first episode. A number fixes the start of an episode.

        Raises:
            UserError: The trainer has no policy, or the policy needs what the simulator lacks.
            SimulationError: The simulator broke down in many episodes in a row.
        """
        policy = self._find_policy(context)
        rollouts = Rollouts(
            simulator=self.simulator,
            task=self.task,
            make=lambda seed: self.simulator.make(
                self.task, seed, cameras=self.cameras, image_size=self.image_size
            ),
            seed=derive_seed(self.seed, context.seed),
            num_envs=self.num_envs,
            max_steps=self.max_steps,
        )
        rollouts.play(
            policy, context, send, first=first, check=lambda env: self._check_policy(policy, env)
        )

    def _make_lane(self, number: int, out_dir: Path) -> Lane:
        films = number < self.video_episodes
        return Lane(
            lambda: self.make_environment(film=films),
            self.task,
            self.seed,
            max_steps=self.max_steps,
            video_dir=out_dir / "videos",
            video_episodes=self.video_episodes,
        )

    def _find_policy(self, context: EvaluationContext) -> Policy:
        make_policy = getattr(context.trainer, "policy", None)
        if make_policy is None:
            message = (
                f"the evaluator '{self.simulator.name}' needs a trainer with a policy; "
                f"{type(context.trainer).__name__} has no method policy(normalizer)"
            )
            raise UserError(message)
        policy: Policy = make_policy(context.normalizer)
        return policy

    def _check_policy(self, policy: Policy, environment: Environment) -> None:
        """Check that the policy can act here."""
        title, known = self.simulator.title, environment.observation_shapes
        missing = [key for key in policy.observation_keys if key not in known]
        if missing:
            message = f"the policy sees {', '.join(missing)}; {title} here gives {', '.join(known)}"
            if any(".image" in key for key in missing):
                message += (
                    "; evaluation.cameras says which camera each picture comes from "
                    f"({', '.join(self.simulator.cameras)})"
                )
            raise UserError(message)
        if policy.action_dim != environment.action_dim:
            message = (
                f"the policy's actions have {policy.action_dim} dimensions, "
                f"{title}'s {environment.action_dim}"
            )
            raise UserError(message)


class MetaWorldEvaluator(SimulatorEvaluator):
    """Plays a policy in a Meta-World task, on goals it has not been shown.

    Observations are `observation.state` `(39,)`, `observation.proprioception` `(4,)` and those of
    `cameras`. An episode ends with its first success or after `max_steps`. Writes `episodes.jsonl`
    and `videos/episode-000.mp4`, ... into the evaluation's folder.

    Args:
        task: A Meta-World v3 name such as `pick-place-v3`.
        episodes: Episodes to play. The interval narrows with the root of their number; 50 gives
            +-8 points at 90 %. A seed has 50 different goals.
        max_steps: Longest episode, at most 500 (the environment's own limit).
        settings: What all evaluators in simulators take.

    Raises:
        MissingPackageError: Meta-World, or PyAV for videos, is not installed.
        UserError: There is no such task or camera, a number is out of its range, or pictures are
            asked for and cannot be drawn here.
    """

    parameter_check: ClassVar = "experiments_il.sim.evaluation_check:check_metaworld"
    simulator = METAWORLD

    def __init__(
        self, task: str, episodes: Positive = 50, max_steps: Positive = 300, **settings: Any
    ) -> None:
        super().__init__(task, episodes=episodes, max_steps=max_steps, **settings)

    def require_task(self, task: str) -> None:
        """Check that Meta-World is installed and has a task; see `metaworld_env.require_task`."""
        from experiments_il.sim.metaworld_env import require_task  # noqa: PLC0415 - gymnasium

        require_task(task)


def _summarize(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    finished = [record for record in records if not record.error]
    n, broken = len(finished), len(records) - len(finished)
    if n == 0 and broken:
        message = (
            f"the simulator broke down in all {broken} episodes that were played; "
            f"in episode {records[0].episode}: {records[0].error}"
        )
        raise SimulationError(message)
    if n == 0:
        return {"n": 0}
    successes = sum(record.success for record in finished)
    summary: dict[str, Any] = {
        "success_rate": successes / n,
        "n": n,
        "ci95": list(wilson_interval(successes, n)),
        "mean_steps": sum(record.steps for record in finished) / n,
        "mean_return": sum(record.episode_return for record in finished) / n,
    }
    return summary | ({"broken": broken} if broken else {})
