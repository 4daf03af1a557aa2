"""Playing for the sake of the episodes: new starts without end, and all that happens is kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.execution import Executor
from experiments_il.sim.lane import Lane, SimulationError
from experiments_il.sim.lockstep import play_in_lockstep
from trainer_core.online import Episode
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from experiments_il.policy import Policy
    from experiments_il.sim.environment import Environment, Observation, Outcome
    from experiments_il.sim.lane import EpisodeRecord
    from experiments_il.sim.simulators import Simulator
    from trainer_core.protocols import EvaluationContext

__all__ = ["RolloutEnvironment", "Rollouts"]

_LOG = logging.getLogger(__name__)
_MOST_BROKEN = 10

_FIRST_SEED = 2**31
"""Rollouts have the seeds from here to 2^32; evaluations and recordings are given smaller ones."""


class RolloutEnvironment:
    """An `Environment` with another start for every number, which records the episode.

    Args:
        make: Returns the simulator with a seed.
        seed: What starts are derived from.
        per_seed: Episodes of one seed of the simulator; None: as many as one likes.
        first: Number of an episode that will be played; others are as good.
    """

    def __init__(
        self,
        make: Callable[[int], Environment],
        seed: int,
        per_seed: int | None,
        first: int = 0,
    ) -> None:
        self._make = make
        self._seed = seed
        self._per_seed = per_seed
        self._block, _ = self._place(first)
        self._environment = make(self._simulator_seed())
        self.action_dim = self._environment.action_dim
        self.fps = self._environment.fps
        self.max_steps = self._environment.max_steps
        self.observation_shapes: Mapping[str, tuple[int, ...]] = (
            self._environment.observation_shapes
        )
        self.action_low = self._environment.action_low
        self.action_high = self._environment.action_high
        self._newest: Observation = {}
        self._rows: dict[str, list[Any]] = {}

    @property
    def state(self) -> NDArray[np.float64]:
        """The simulator's own numbers."""
        return self._environment.state

    def reset(self, episode: int) -> Observation:
        """Begin an episode; its start is a function of (task, seed, episode)."""
        self._rows = {}
        block, number = self._place(episode)
        if block != self._block:
            self._environment.close()
            self._block = block
            self._environment = self._make(self._simulator_seed())
        self._newest = self._environment.reset(number)
        return self._newest

    def step(self, action: NDArray[Any]) -> Outcome:
        """Do an action and remember it as it is done, within the limits."""
        done = np.clip(action, self.action_low, self.action_high).astype(np.float32)
        outcome = self._environment.step(done)
        row = {
            **self._newest,
            "action": done,
            "next.reward": np.float32(outcome.reward),
            "next.success": np.bool_(outcome.success),
        }
        for key, value in row.items():
            self._rows.setdefault(key, []).append(value)
        self._newest = outcome.observation
        return outcome

    def take_columns(self) -> dict[str, NDArray[Any]]:
        """Return the frames of the episode that is over, `(T, *shape)` by key, and forget them.

        These are the observations before each step, the actions, and LeRobot's `next.reward`,
        `next.success`, `next.done`, `frame_index` and `timestamp` (seconds).
        """
        columns = {key: np.stack(rows) for key, rows in self._rows.items()}
        self._rows = {}
        steps = np.arange(len(columns["action"]))
        columns["next.done"] = steps == steps[-1]
        columns["frame_index"] = steps.astype(np.int64)
        columns["timestamp"] = (steps / self.fps).astype(np.float32)
        return columns

    def render(self) -> NDArray[np.uint8] | None:
        """Return the simulator's picture."""
        return self._environment.render()

    def close(self) -> None:
        """Close the simulator."""
        self._environment.close()

    def _place(self, episode: int) -> tuple[int, int]:
        """Return which of the simulator's seeds an episode belongs to, and its number there."""
        return divmod(episode, self._per_seed) if self._per_seed else (0, episode)

    def _simulator_seed(self) -> int:
        drawn = derive_seed(self._seed, "rollouts", self._block)
        return _FIRST_SEED + drawn % (2**32 - _FIRST_SEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Plays a policy in a simulator and sends every episode on.

    Attributes:
        simulator: Which it is.
        task: Name of the task.
        make: Returns a simulator with a seed.
        seed: What the starts of episodes and the policy's noise are derived from.
        num_envs: Environments played in lockstep.
        max_steps: Longest episode.
    """

    simulator: Simulator
    task: str
    make: Callable[[int], Environment]
    seed: int
    num_envs: int
    max_steps: int

    def play(
        self,
        policy: Policy,
        context: EvaluationContext,
        send: Callable[[Episode], None],
        *,
        first: int,
        check: Callable[[Environment], None],
    ) -> None:
        """Play until `context.interrupted()`.

        Args:
            policy: What acts.
            context: Where and how long.
            send: Called with every episode that is over; without frames if the simulator broke.
            first: Number of the first episode.
            check: Called with the first environment; raises if the policy does not fit it.

        Raises:
            SimulationError: The simulator broke down in many episodes in a row.
        """
        relay = _Relay(self.simulator.title, send)
        lanes: list[Lane] = []
        try:
            for number in range(self.num_envs):
                lanes.append(self._make_lane(first))
                if number == 0:
                    check(lanes[0].environment)
            executor = Executor(policy, seed=self.seed, device=context.device)
            play_in_lockstep(executor, lanes, count(first), relay.take, context.interrupted)
        finally:
            for lane in lanes:
                lane.close()

    def _make_lane(self, first: int) -> Lane:
        per_seed = self.simulator.episodes_per_seed
        return Lane(
            lambda: RolloutEnvironment(self.make, self.seed, per_seed, first),
            self.task,
            self.seed,
            max_steps=self.max_steps,
            video_dir=Path(),
            video_episodes=0,
        )


class _Relay:
    """Sends what was played, until the simulator breaks down every time."""

    def __init__(self, title: str, send: Callable[[Episode], None]) -> None:
        self._title = title
        self._send = send
        self._broken = 0

    def take(self, lane: Lane, record: EpisodeRecord) -> None:
        """Send an episode that is over in a lane."""
        environment: Any = lane.environment
        columns = {} if record.error else environment.take_columns()
        self._broken = self._broken + 1 if record.error else 0
        if record.error:
            _LOG.error("%s broke down in episode %d: %s", self._title, record.episode, record.error)
        self._send(Episode(columns, record.success, record.error))
        if self._broken == _MOST_BROKEN:
            message = (
                f"the simulator broke down in {self._broken} episodes in a row; "
                f"in episode {record.episode}: {record.error}"
            )
            raise SimulationError(message)
