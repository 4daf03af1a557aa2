"""One of the environments that an evaluation plays in lockstep, and the episode played in it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from experiments_il.sim.video import write_video
from trainer_core.errors import TrainerError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from experiments_il.sim.environment import Environment, Observation

__all__ = ["EpisodeRecord", "Lane", "SimulationError"]


class SimulationError(TrainerError):
    """A simulator broke down."""


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One line of `episodes.jsonl`.

    Attributes:
        task: Name of the task.
        seed: The environment's seed, which fixes the sequence of episodes.
        episode: Position in that sequence, from 0.
        success: Whether the task was solved at any step.
        steps: Steps until success or the end.
        episode_return: Sum of the environment's rewards over these steps.
        error: What the simulator raised; empty if it did not break down.
    """

    task: str
    seed: int
    episode: int
    success: bool
    steps: int
    episode_return: float
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the line's mapping; the sum of rewards is called `return` there."""
        line = {
            "task": self.task,
            "seed": self.seed,
            "episode": self.episode,
            "success": self.success,
            "steps": self.steps,
            "return": round(self.episode_return, 4),
        }
        return line | ({"error": self.error} if self.error else {})


class Lane:
    """Plays one episode after the other in an environment, and makes a new one if it breaks down.

    Args:
        make: Returns a new environment.
        task: Name of the task, for the records.
        seed: The environment's seed, for the records.
        max_steps: Longest episode.
        video_dir: Folder of the videos.
        video_episodes: Episodes below this number are filmed.
    """

    def __init__(
        self,
        make: Callable[[], Environment],
        task: str,
        seed: int,
        *,
        max_steps: int,
        video_dir: Path,
        video_episodes: int,
    ) -> None:
        self._make = make
        self._task = task
        self._seed = seed
        self._max_steps = max_steps
        self._video_dir = video_dir
        self._video_episodes = video_episodes
        self.environment = make()
        self._is_broken = False
        self._episode = -1
        self._steps = 0
        self._return = 0.0
        self._observation: Observation = {}
        self._frames: list[NDArray[np.uint8]] | None = None

    def start(self, episode: int) -> EpisodeRecord | None:
        """Begin an episode; return its record if the simulator broke down over it."""
        self._episode, self._steps, self._return = episode, 0, 0.0
        self._frames = [] if episode < self._video_episodes else None
        try:
            if self._is_broken:
                self.environment = self._make()
                self._is_broken = False
            self._observation = self.environment.reset(episode)
            self._film()
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - a simulator is third-party code
            return self._break_down(error)
        return None

    def observation(self) -> dict[str, torch.Tensor]:
        """Return the newest observation as the policy knows it."""
        return {key: torch.from_numpy(value) for key, value in self._observation.items()}

    def step(self, action: NDArray[np.float32]) -> EpisodeRecord | None:
        """Do an action; return the record if the episode is over."""
        try:
            self._observation, reward, success, done = self.environment.step(action)
            self._steps += 1
            self._return += float(reward)
            self._film()
        except Exception as error:  # noqa: BLE001 - a simulator is third-party code
            return self._break_down(error)
        if not (success or done or self._steps >= self._max_steps):
            return None
        self._save_video()
        return self._record(success=success)

    def close(self) -> None:
        """Close the environment."""
        if not self._is_broken:
            self.environment.close()

    def _record(self, *, success: bool = False, error: str = "") -> EpisodeRecord:
        return EpisodeRecord(
            self._task, self._seed, self._episode, success, self._steps, self._return, error
        )

    def _break_down(self, error: Exception) -> EpisodeRecord:
        if not self._is_broken:
            self._is_broken = True
            with contextlib.suppress(Exception):  # it is broken: closing it may fail as well
                self.environment.close()
        return self._record(error=f"{type(error).__name__}: {error}")

    def _film(self) -> None:
        if self._frames is None:
            return
        picture = self.environment.render()
        if picture is None:
            self._frames = None
        else:
            self._frames.append(picture)

    def _save_video(self) -> None:
        if self._frames:
            self._video_dir.mkdir(parents=True, exist_ok=True)
            path = self._video_dir / f"episode-{self._episode:03d}.mp4"
            write_video(path, self._frames, self.environment.fps)
