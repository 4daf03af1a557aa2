"""A trained policy: observations to chunks of actions.

Shapes: B batch, T history, H chunk length, A action dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from experiments_il.action_queue import ChunkSettings
from experiments_il.data.relative_actions import in_data_units, with_reference
from experiments_il.flow import Solver, VelocityField, evaluations, integrate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from experiments_il.blocks.action_decoder import MemoryCache
    from trainer_core.normalize import Normalizer

__all__ = [
    "ActionDecoder",
    "ChunkSettings",
    "Condition",
    "FlowMatchingPolicy",
    "Policy",
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
        self.observation_keys = with_reference(normalizer, action_key, observation_keys)
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
        return in_data_units(self.normalizer, self.action_key, chunk, known)

    def _field(self, memory: Tensor, noise: Tensor) -> tuple[VelocityField, Tensor]:
        """Return the velocity field of these observations, and where its flow begins."""
        if self.condition is None:
            cache = self.decoder.cache(memory)
            return (lambda x, t: self.decoder.step(x, t, cache)), noise
        own = self.condition.noise_dim
        start = noise[:, own:].reshape(-1, self.horizon, self.action_dim)
        return self.condition.field(memory, noise[:, :own]), start
