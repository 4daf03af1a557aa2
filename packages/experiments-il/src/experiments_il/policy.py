"""Acting with a trained policy: observations to chunks, chunks to actions.

Shapes: B batch, T history, H chunk length, A action dimension.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from experiments_il.data.relative_actions import absolute_chunk, reference_of
from experiments_il.flow import Solver, VelocityField, evaluations, integrate
from trainer_core.errors import UserError
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from experiments_il.blocks.action_decoder import MemoryCache
    from trainer_core.normalize import Normalizer

__all__ = [
    "ActionDecoder",
    "ChunkSettings",
    "Condition",
    "FlowMatchingPolicy",
    "Policy",
    "RecedingHorizon",
]


class ActionDecoder(Protocol):
    """What sampling needs of an action decoder."""

    action_dim: int
    horizon: int

    def cache(self, memory: Tensor) -> MemoryCache:
        """Return what depends on the memory alone."""
        ...

    def step(self, x_t: Tensor, t: Tensor, cache: MemoryCache) -> Tensor:
        """Return the velocity `(B, H, A)`."""
        ...


class Condition(Protocol):
    """What a velocity field depends on besides the observation, such as a latent."""

    noise_dim: int

    def field(self, memory: Tensor, noise: Tensor) -> VelocityField:
        """Return the field of one plan; what depends on no time is computed here, once.

        Args:
            memory: `(B, M, D)`.
            noise: Standard normal `(B, noise_dim)`, from which latents are sampled.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How chunks relate to frames; stored with a checkpoint, used by data set and executor alike.

    Attributes:
        n_obs_steps: Frames of an observation's history, the current one included.
        n_action_steps: Actions E of a chunk that are executed before the next is planned. Fewer
            react faster, more keep to one plan.
        action_offset: Frame of a chunk's first action relative to the current frame; -1 when
            windows begin one frame early. Earlier actions of a chunk are skipped.

    Raises:
        UserError: A value is out of its range.
    """

    n_obs_steps: int = 1
    n_action_steps: int = 8
    action_offset: int = 0

    def __post_init__(self) -> None:
        """Check each value on its own."""
        for name, value in (
            ("n_obs_steps", self.n_obs_steps),
            ("n_action_steps", self.n_action_steps),
        ):
            if value < 1:
                message = f"{name} must be at least 1, got {value}"
                raise UserError(message)
        if self.action_offset > 0:
            message = (
                f"action_offset must be 0 or negative, got {self.action_offset}: "
                "a chunk has to contain the current frame's action"
            )
            raise UserError(message)

    def check_horizon(self, horizon: int) -> None:
        """Check that a chunk of `horizon` actions holds those to execute.

        Raises:
            UserError: It does not.
        """
        available = horizon + self.action_offset
        if self.n_action_steps > available:
            message = (
                f"n_action_steps is {self.n_action_steps}, but a chunk has {available} actions "
                f"from the current frame on (horizon {horizon}, action_offset "
                f"{self.action_offset})"
            )
            raise UserError(message)


class Policy(Protocol):
    """Anything that turns observations into chunks of actions."""

    chunk: ChunkSettings
    observation_keys: tuple[str, ...]
    horizon: int
    action_dim: int
    noise_shape: tuple[int, ...]

    def act(self, observation: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        """Return chunks `(B, H, A)` in the data set's units.

        Args:
            observation: Key to `(B, T, ...)`, oldest frame first, in the data set's units.
            noise: Standard normal `(B, *noise_shape)` for policies that sample; None: drawn.
        """
        ...


class FlowMatchingPolicy:
    """Samples chunks by integrating a velocity field; the memory's cache is computed once a chunk.

    Args:
        encode: Normalised observation to memory `(B, M, D)`.
        decoder: The velocity field.
        normalizer: Statistics of the data set.
        observation_keys: What `encode` reads.
        action_key: The key whose statistics undo the normalisation of actions.
        chunk: How chunks relate to frames.
        num_inference_steps: Time steps of the integration.
        solver: How a time step is integrated.
        condition: What the field depends on besides the memory; None: nothing. Its noise then
            precedes that of the chunk: `noise_shape` is `(noise_dim + H * A,)`, else `(H, A)`.
    """

    def __init__(
        self,
        encode: Callable[[Mapping[str, Tensor]], Tensor],
        decoder: ActionDecoder,
        normalizer: Normalizer,
        *,
        observation_keys: tuple[str, ...],
        action_key: str = "action",
        chunk: ChunkSettings | None = None,
        num_inference_steps: int = 10,
        solver: Solver = "euler",
        condition: Condition | None = None,
    ) -> None:
        self.encode = encode
        self.decoder = decoder
        self.normalizer = normalizer
        reference = reference_of(normalizer, action_key)
        needed = () if reference is None else (reference,)
        self.observation_keys = tuple(dict.fromkeys((*observation_keys, *needed)))
        self.action_key = action_key
        self.chunk = chunk or ChunkSettings()
        self.num_inference_steps = num_inference_steps
        self.solver: Solver = solver
        self.horizon = decoder.horizon
        self.action_dim = decoder.action_dim
        self.evaluations = evaluations(solver, num_inference_steps)
        self.condition = condition
        size = self.horizon * self.action_dim
        self.noise_shape: tuple[int, ...] = (self.horizon, self.action_dim)
        if condition is not None:
            self.noise_shape = (condition.noise_dim + size,)

    @torch.no_grad()
    def act(self, observation: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        """Return chunks `(B, H, A)` in the data set's units.

        Args:
            observation: Key to `(B, T, ...)` on the models' device, oldest frame first, in the
                data set's units.
            noise: Standard normal `(B, *noise_shape)`; None: drawn from torch's global generator.
        """
        known = {key: observation[key] for key in self.observation_keys}
        memory = self.encode(self.normalizer.normalize(known))
        if noise is None:
            noise = torch.randn(memory.shape[0], *self.noise_shape)
        field, start = self._field(memory, noise.to(memory))
        chunk = integrate(field, start, steps=self.num_inference_steps, solver=self.solver)
        if self.action_key in self.normalizer.keys:
            chunk = self.normalizer.unnormalize(self.action_key, chunk)
        return absolute_chunk(self.normalizer, self.action_key, chunk, known)

    def _field(self, memory: Tensor, noise: Tensor) -> tuple[VelocityField, Tensor]:
        """Return the velocity field of these observations, and where its flow begins."""
        if self.condition is None:
            cache = self.decoder.cache(memory)
            return (lambda x, t: self.decoder.step(x, t, cache)), noise
        own = self.condition.noise_dim
        start = noise[:, own:].reshape(-1, self.horizon, self.action_dim)
        return self.condition.field(memory, noise[:, :own]), start


class RecedingHorizon:
    """Plays a policy in several environments in lockstep, planning only where a plan has run out.

    Keeps each environment's history (the first frame repeated at the start, as data sets pad) and
    what is left of its plan. The noise of a plan is a function of (seed, episode, plan), so an
    episode does not depend on which others run beside it.

    Args:
        policy: What plans.
        seed: Seed of the noise.
        device: Where the policy's models are.
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
        self._episodes[lane] = _Episode(episode, deque(maxlen=self.policy.chunk.n_obs_steps))

    def act(self, observations: Mapping[int, Mapping[str, Tensor]]) -> dict[int, Tensor]:
        """Return the next action `(A,)` of each environment, on the CPU.

        Args:
            observations: Environment to its newest observation, key to tensor without batch axis.
        """
        for lane, observation in observations.items():
            self._episodes[lane].observe(observation)
        exhausted = [lane for lane in observations if not self._episodes[lane].plan]
        if exhausted:
            self._plan([self._episodes[lane] for lane in exhausted])
        return {lane: self._episodes[lane].plan.popleft() for lane in observations}

    def _plan(self, episodes: Sequence[_Episode]) -> None:
        batch = {
            key: torch.stack([episode.stack(key) for episode in episodes]).to(self.device)
            for key in self.policy.observation_keys
        }
        noise = torch.stack([self._noise(episode) for episode in episodes])
        chunks = self.policy.act(batch, noise=noise.to(self.device)).cpu()
        first = -self.policy.chunk.action_offset
        last = first + self.policy.chunk.n_action_steps
        for episode, chunk in zip(episodes, chunks, strict=True):
            episode.plan.extend(chunk[first:last])
            episode.plans += 1

    def _noise(self, episode: _Episode) -> Tensor:
        generator = torch.Generator()
        generator.manual_seed(derive_seed(self.seed, "plan", episode.number, episode.plans))
        return torch.randn(self.policy.noise_shape, generator=generator)


class _Episode:
    """One environment's history and plan."""

    def __init__(self, number: int, history: deque[Mapping[str, Tensor]]) -> None:
        self.number = number
        self.history = history
        self.plan: deque[Tensor] = deque()
        self.plans = 0

    def observe(self, observation: Mapping[str, Tensor]) -> None:
        """Append a frame; the first one fills the history."""
        missing = (self.history.maxlen or 1) if not self.history else 1
        self.history.extend([observation] * missing)

    def stack(self, key: str) -> Tensor:
        """Return the history of a key, `(T, ...)`, oldest first."""
        return torch.stack([frame[key] for frame in self.history])
