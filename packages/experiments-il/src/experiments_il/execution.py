"""Playing a policy: several environments in lockstep, or one robot at its control rate.

Shapes: B batch, T history, A action dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from experiments_il.action_queue import make_queue
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments_il.policy import Policy

__all__ = ["Actor", "Executor"]


class Executor:
    """Plays a policy in several environments in lockstep, planning only where it is needed.

    Chunks become actions as the policy's `chunk.execution` says. Each environment has its own
    history (the first frame repeated at the start, as data sets pad) and queue. The noise of a
    plan is a function of (seed, episode, plan), so an episode does not depend on which others run
    beside it.

    Args:
        policy: What plans.
        seed: Seed of the noise.
        device: Where the policy's models are.

    Raises:
        UserError: A chunk does not hold the actions to execute.
    """

    def __init__(self, policy: Policy, seed: int = 0, device: torch.device | str = "cpu") -> None:
        policy.chunk.check_horizon(policy.horizon)
        self.policy = policy
        self.seed = seed
        self.device = torch.device(device)
        self._episodes: dict[int, _Episode] = {}

    def start(self, lane: int, episode: int) -> None:
        """Forget what environment `lane` did and begin an episode in it.

        Args:
            lane: Number of the environment.
            episode: Number of the episode, which chooses the noise.
        """
        self._episodes[lane] = _Episode(episode, self.policy)

    def act(self, observations: Mapping[int, Mapping[str, Tensor]]) -> dict[int, Tensor]:
        """Return the next action `(A,)` of each environment, on the CPU.

        Args:
            observations: Environment to its newest observation, key to tensor without batch axis.
        """
        for lane, observation in observations.items():
            self._episodes[lane].queue.observe(observation)
        planning = [self._episodes[lane] for lane in observations]
        planning = [episode for episode in planning if episode.queue.needs_chunk]
        if planning:
            self._plan(planning)
        return {lane: self._episodes[lane].queue.pop() for lane in observations}

    def _plan(self, episodes: Sequence[_Episode]) -> None:
        batch = {
            key: torch.stack([episode.stack(key) for episode in episodes]).to(self.device)
            for key in self.policy.observation_keys
        }
        noise = torch.stack([self._noise(episode) for episode in episodes])
        chunks = self.policy.act(batch, noise=noise.to(self.device)).cpu()
        for episode, chunk in zip(episodes, chunks, strict=True):
            episode.queue.put(chunk)
            episode.plans += 1

    def _noise(self, episode: _Episode) -> Tensor:
        generator = torch.Generator()
        generator.manual_seed(derive_seed(self.seed, "plan", episode.number, episode.plans))
        return torch.randn(self.policy.noise_shape, generator=generator)


class Actor:
    """Plays a policy on one robot: an observation in, an action out, at each control step.

    Args:
        policy: What plans, for example of `experiments_il.load_policy`.
        seed: Seed of the noise.
        device: Where the policy's models are.

    Raises:
        UserError: A chunk does not hold the actions to execute.
    """

    def __init__(self, policy: Policy, seed: int = 0, device: torch.device | str = "cpu") -> None:
        self._executor = Executor(policy, seed, device)
        self._episode = -1
        self.reset()

    def reset(self) -> None:
        """Begin an episode: forget the history and what was planned."""
        self._episode += 1
        self._executor.start(0, self._episode)

    def act(self, observation: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the action `(A,)` in the data set's units.

        Args:
            observation: Key to an array without batch axis, in the data set's units and layout:
                states float `(D,)`, pictures uint8 `(3, height, width)`.

        Raises:
            KeyError: An observation that the policy sees is missing.
        """
        keys = self._executor.policy.observation_keys
        missing = [key for key in keys if key not in observation]
        if missing:
            message = f"the policy sees {', '.join(missing)}; given are {', '.join(observation)}"
            raise KeyError(message)
        frame = {key: _to_tensor(observation[key]) for key in keys}
        action: np.ndarray[Any, np.dtype[np.float32]] = self._executor.act({0: frame})[0].numpy()
        return action


class _Episode:
    """One environment's queue, and how many plans it has had."""

    def __init__(self, number: int, policy: Policy) -> None:
        self.number = number
        self.queue = make_queue(policy.chunk, policy.horizon)
        self.plans = 0

    def stack(self, key: str) -> Tensor:
        """Return the history of a key, `(T, ...)`, oldest first."""
        return torch.stack([frame[key] for frame in self.queue.history])


def _to_tensor(value: Any) -> Tensor:
    tensor = torch.as_tensor(np.asarray(value))
    return tensor.float() if tensor.dtype == torch.float64 else tensor
