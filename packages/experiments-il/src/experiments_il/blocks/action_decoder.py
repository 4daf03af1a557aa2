"""Action decoders: the velocity field of a chunk, conditioned on a memory of tokens.

Both offer the same interface. `forward(x_t, t, memory)` equals `step(x_t, t, cache(memory))`; a
sampler computes the cache once for all its time steps, because nothing in it depends on time.

Shapes: B batch, H chunk length, A action dimension, M memory tokens, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policy_constructor.blocks.basic import MLP
from policy_constructor.blocks.embedding import LearnedPositions, SinusoidalTimeEmbedding
from policy_constructor.blocks.transformer import TransformerDecoder

if TYPE_CHECKING:
    from policy_constructor.ranges import Count, Fraction, Positive

__all__ = ["MLPActionDecoder", "MemoryCache", "TransformerActionDecoder"]

MemoryCache: TypeAlias = tuple[tuple[Tensor, ...], ...]
"""What a decoder derives from the memory once per chunk: an immutable tuple of tuples."""


class TransformerActionDecoder(nn.Module):
    """Pre-norm transformer over action tokens with cross-attention to the memory.

    Time enters through adaptive layer norms, never through the memory; so the memory's keys and
    values can be kept. No norm touches the raw noisy actions, whose scale tells the time. The
    output layer starts at zero.

    Args:
        action_dim: Dimensions A of an action.
        horizon: Chunk length H.
        width: Width D of the action tokens, even.
        layers: Number of transformer layers.
        heads: Attention heads; must divide `width`.
        feedforward: Hidden width of a layer's MLP; null: `4 * width`.
        memory_width: Width of a memory token; null: `width`.
        causal: Let an action attend only to itself and earlier ones.
        dropout: Dropped share of each residual branch; 0 to 0.1.
    """

    def __init__(
        self,
        action_dim: Positive,
        horizon: Positive,
        width: Positive = 256,
        layers: Positive = 4,
        heads: Positive = 8,
        feedforward: Positive | None = None,
        memory_width: Positive | None = None,
        causal: bool = False,
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.horizon = horizon
        self.embed = nn.Linear(action_dim, width)
        self.position = LearnedPositions(horizon, width)
        self.time_features = SinusoidalTimeEmbedding(width)
        self.time = MLP([width, 2 * width, width], activation="silu")
        self.transformer = TransformerDecoder(
            d_model=width,
            nhead=heads,
            num_layers=layers,
            dim_feedforward=feedforward,
            dropout=dropout,
            causal=causal,
            cond_dim=width,
            memory_dim=memory_width,
        )
        self.output = nn.Linear(width, action_dim)
        _zero(self.output)

    def cache(self, memory: Tensor) -> MemoryCache:
        """Return keys and values `(B, heads, M, D / heads)` of the memory, a pair per layer."""
        return self.transformer.cache(memory)

    def step(self, x_t: Tensor, t: Tensor, cache: MemoryCache) -> Tensor:
        """Return the velocity `(B, H, A)` at `x_t` and time `t`.

        Args:
            x_t: Noisy chunk `(B, H, A)`.
            t: Times `(B,)`.
            cache: From `cache(memory)`; not changed.
        """
        time = self.time(self.time_features(t).to(x_t.dtype))
        tokens = self.position(self.embed(x_t))
        velocity: Tensor = self.output(self.transformer(tokens, cache=cache, cond=time))
        return velocity

    def forward(self, x_t: Tensor, t: Tensor, memory: Tensor) -> Tensor:
        """Return the velocity `(B, H, A)` given the memory `(B, M, memory_width)`."""
        return self.step(x_t, t, self.cache(memory))


class MLPActionDecoder(nn.Module):
    """Residual MLP over the flattened chunk: fast where the memory is a few state tokens.

    Args:
        action_dim: Dimensions A of an action.
        horizon: Chunk length H.
        memory_tokens: Tokens M of the memory.
        memory_width: Width of a memory token.
        width: Hidden width D.
        layers: Residual layers.
        time_width: Channels of the time features, even.
    """

    def __init__(
        self,
        action_dim: Positive,
        horizon: Positive,
        memory_tokens: Positive = 1,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Count = 2,
        time_width: Positive = 32,
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.horizon = horizon
        self.memory_tokens = memory_tokens
        self.memory_width = memory_width
        self.time_features = SinusoidalTimeEmbedding(time_width)
        self.embed = nn.Linear(horizon * action_dim + time_width, width)
        self.condition = nn.Linear(memory_tokens * memory_width, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.output = nn.Linear(width, horizon * action_dim)
        _zero(self.output)

    def cache(self, memory: Tensor) -> MemoryCache:
        """Return the memory's share `(B, D)` of the first layer.

        Raises:
            ValueError: The memory has another shape than the decoder was built for.
        """
        if memory.shape[1:] != (self.memory_tokens, self.memory_width):
            message = (
                f"memory has shape {tuple(memory.shape)}, expected (B, {self.memory_tokens}, "
                f"{self.memory_width}): memory_tokens and memory_width of the decoder decide"
            )
            raise ValueError(message)
        return ((self.condition(memory.flatten(1)),),)

    def step(self, x_t: Tensor, t: Tensor, cache: MemoryCache) -> Tensor:
        """Return the velocity `(B, H, A)` at `x_t` `(B, H, A)` and time `t` `(B,)`."""
        ((condition,),) = cache
        time = self.time_features(t).to(x_t.dtype)
        h = F.silu(self.embed(torch.cat([x_t.flatten(1), time], dim=1)) + condition)
        for layer in self.hidden:
            h = h + F.silu(layer(h))
        velocity: Tensor = self.output(h)
        return velocity.reshape(-1, self.horizon, self.action_dim)

    def forward(self, x_t: Tensor, t: Tensor, memory: Tensor) -> Tensor:
        """Return the velocity `(B, H, A)` given the memory `(B, memory_tokens, memory_width)`."""
        return self.step(x_t, t, self.cache(memory))


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
