"""Success rate of a policy in Meta-World, with its interval, a table of episodes and videos."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from experiments_il.policy import Policy, RecedingHorizon
from experiments_il.sim.metaworld_env import ACTION_DIM, FPS, make_env, require_task
from experiments_il.sim.schematic import draw_state
from experiments_il.sim.statistics import wilson_interval
from experiments_il.sim.video import require_encoder, write_video
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import gymnasium
    from numpy.typing import NDArray

    from policy_constructor.ranges import Count, Positive
    from trainer_core.protocols import EvaluationContext

__all__ = ["EpisodeRecord", "MetaWorldEvaluator"]

_STATE_KEY = "observation.state"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One line of `episodes.jsonl`.

    Attributes:
        task: Name of the task.
        seed: The environment's seed, which fixes the sequence of goals.
        episode: Position in that sequence, from 0.
        success: Whether the task was solved at any step.
        steps: Steps until success or the end.
        episode_return: Sum of the environment's rewards over these steps.
    """

    task: str
    seed: int
    episode: int
    success: bool
    steps: int
    episode_return: float

    def to_json(self) -> dict[str, Any]:
        """Return the line's mapping; the sum of rewards is called `return` there."""
        return {
            "task": self.task,
            "seed": self.seed,
            "episode": self.episode,
            "success": self.success,
            "steps": self.steps,
            "return": round(self.episode_return, 4),
        }


class MetaWorldEvaluator:
    """Plays a policy on goals it has not been shown, several environments at a time.

    An episode ends with its first success or after `max_steps`. Writes `episodes.jsonl` and
    `videos/episode-000.mp4`, ... into the evaluation's folder.

    Args:
        task: A Meta-World v3 name such as `pick-place-v3`.
        episodes: Episodes to play. The interval narrows with the root of their number; 50 gives
            +-8 points at 90 %. A seed has 50 different goals.
        seed: Seed of the goals; take another one than the demonstrations'.
        max_steps: Longest episode, at most 500 (the environment's own limit).
        num_envs: Environments played in lockstep, one batch for the policy. More make fewer and
            larger batches; each takes 0.4 s to build. Results do not depend on it.
        video_episodes: Episodes recorded as video, from the first on; 0: none.

    Raises:
        MissingPackageError: Meta-World, or PyAV for videos, is not installed.
        UserError: There is no such task, or a number is out of its range.
    """

    def __init__(
        self,
        task: str,
        episodes: Positive = 50,
        seed: int = 1000,
        max_steps: Positive = 300,
        num_envs: Positive = 5,
        video_episodes: Count = 1,
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
        require_task(task)
        if video_episodes:
            require_encoder()
        self.task = task
        self.episodes = episodes
        self.seed = seed
        self.max_steps = max_steps
        self.num_envs = min(num_envs, episodes)
        self.video_episodes = min(video_episodes, episodes)

    def evaluate(self, context: EvaluationContext) -> dict[str, Any]:
        """Play the episodes and return `success_rate`, `n`, `ci95`, `mean_steps`, `mean_return`.

        An interruption ends it early with the episodes played so far; without any, only `n` is
        returned.

        Raises:
            UserError: The trainer has no policy, or the policy needs what Meta-World lacks.
        """
        policy = _find_policy(context)
        began = time.perf_counter()
        context.out_dir.mkdir(parents=True, exist_ok=True)
        lanes: list[_Lane] = []
        try:
            lanes.extend(_Lane(self, number, context.out_dir) for number in range(self.num_envs))
            records = self._play(policy, lanes, context)
        finally:
            for lane in lanes:
                lane.env.close()
        records.sort(key=lambda record: record.episode)
        lines = [json.dumps(record.to_json()) + "\n" for record in records]
        (context.out_dir / "episodes.jsonl").write_text("".join(lines), encoding="utf-8")
        return _summarize(records) | {"seconds": time.perf_counter() - began}

    def _play(
        self, policy: Policy, lanes: list[_Lane], context: EvaluationContext
    ) -> list[EpisodeRecord]:
        executor = RecedingHorizon(policy, seed=self.seed, device=context.device)
        waiting = iter(range(self.episodes))
        records: list[EpisodeRecord] = []
        active: dict[int, _Lane] = {}
        for number, lane in enumerate(lanes):
            active[number] = lane
            executor.start(number, lane.start(next(waiting)))
        while active and not context.interrupted():
            actions = executor.act({number: lane.observation() for number, lane in active.items()})
            for number, action in actions.items():
                record = active[number].step(action.numpy())
                if record is None:
                    continue
                records.append(record)
                succeeded = sum(record.success for record in records)
                context.progress(len(records), self.episodes, f"{succeeded} succeeded")
                episode = next(waiting, None)
                if episode is None:
                    del active[number]
                else:
                    executor.start(number, active[number].start(episode))
        return records


class _Lane:
    """One environment and the episode that is played in it."""

    def __init__(self, evaluator: MetaWorldEvaluator, number: int, out_dir: Path) -> None:
        self.evaluator = evaluator
        self.out_dir = out_dir
        records_video = number < evaluator.video_episodes
        self.env, self.has_camera = _make_env(evaluator.task, evaluator.seed, records_video)
        self.episode = -1
        self.steps = 0
        self.episode_return = 0.0
        self.state: NDArray[np.float64] = np.zeros(0)
        self.frames: list[NDArray[np.uint8]] | None = None

    def start(self, episode: int) -> int:
        """Begin an episode; return its number."""
        self.episode, self.steps, self.episode_return = episode, 0, 0.0
        self.state = self.env.reset(options={"episode": episode})[0]
        self.frames = [] if episode < self.evaluator.video_episodes else None
        self._film()
        return episode

    def observation(self) -> dict[str, torch.Tensor]:
        """Return the newest observation as the policy knows it."""
        return {_STATE_KEY: torch.from_numpy(self.state.astype(np.float32))}

    def step(self, action: NDArray[np.float32]) -> EpisodeRecord | None:
        """Do an action, clipped to the action space; return the record if the episode is over."""
        self.state, reward, _, truncated, info = self.env.step(np.clip(action, -1, 1))
        self.steps += 1
        self.episode_return += float(reward)
        self._film()
        success = bool(info["success"])
        if not (success or truncated or self.steps >= self.evaluator.max_steps):
            return None
        self._save_video()
        return EpisodeRecord(
            self.evaluator.task,
            self.evaluator.seed,
            self.episode,
            success,
            self.steps,
            self.episode_return,
        )

    def _film(self) -> None:
        if self.frames is not None:
            picture = self.env.render() if self.has_camera else draw_state(self.state)
            self.frames.append(np.asarray(picture, dtype=np.uint8))

    def _save_video(self) -> None:
        if self.frames:
            folder = self.out_dir / "videos"
            folder.mkdir(exist_ok=True)
            write_video(folder / f"episode-{self.episode:03d}.mp4", self.frames, FPS)


def _make_env(task: str, seed: int, render: bool) -> tuple[gymnasium.Env[Any, Any], bool]:
    """Return an environment, and whether it has a camera: if it cannot, it goes without."""
    if render:
        try:
            return make_env(task, seed, render=True), True
        except UserError as error:
            _LOG.warning("%s. The video shows a drawing of the state instead.", error)
    return make_env(task, seed), False


def _find_policy(context: EvaluationContext) -> Policy:
    """Return the trainer's policy if it can act in Meta-World."""
    make_policy = getattr(context.trainer, "policy", None)
    if make_policy is None:
        message = (
            f"the evaluator 'metaworld' needs a trainer with a policy; "
            f"{type(context.trainer).__name__} has no method policy(normalizer)"
        )
        raise UserError(message)
    policy: Policy = make_policy(context.normalizer)
    missing = [key for key in policy.observation_keys if key != _STATE_KEY]
    if missing:
        message = f"the policy sees {', '.join(missing)}; Meta-World here gives only {_STATE_KEY}"
        raise UserError(message)
    if policy.action_dim != ACTION_DIM:
        message = f"the policy's actions have {policy.action_dim} dimensions, Meta-World's 4"
        raise UserError(message)
    return policy


def _summarize(records: list[EpisodeRecord]) -> dict[str, Any]:
    n = len(records)
    if n == 0:
        return {"n": 0}
    successes = sum(record.success for record in records)
    return {
        "success_rate": successes / n,
        "n": n,
        "ci95": list(wilson_interval(successes, n)),
        "mean_steps": sum(record.steps for record in records) / n,
        "mean_return": sum(record.episode_return for record in records) / n,
    }
