"""Encoders of what was done: posteriors over the latent of a chunk, given the observation.

Shapes: B batch, H chunk length, A action dimension, M memory tokens, D memory width, Z latent
dimensions, K latent tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from experiments_il.latent import LOG_VARIANCE_RANGE, DiagonalGaussian
from policy_constructor.blocks.attention import CrossAttention
from policy_constructor.blocks.basic import MLP

if TYPE_CHECKING:
    from policy_constructor.ranges import Positive

__all__ = ["GaussianPosterior", "MemoryPool", "TokenPosterior"]


class MemoryPool(nn.Module):
    """Attention of one learned query: memory of any length to one vector.

    Args:
        width: Width D of a memory token.
        heads: Attention heads; must divide `width`.
    """

    def __init__(self, width: Positive, heads: Positive = 1) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.attention = CrossAttention(width, heads)

    def forward(self, memory: Tensor) -> Tensor:
        """Map `(B, M, D)` to `(B, D)`."""
        query = self.query.to(memory.dtype).expand(memory.shape[0], -1, -1)
        pooled: Tensor = self.attention(query, self.attention.cache(memory))
        return pooled.squeeze(1)


class _ChunkEncoder(nn.Module):
    """MLP over the pooled memory and the flattened chunk; padded actions are hidden from it."""

    def __init__(
        self,
        action_dim: int,
        horizon: int,
        outputs: int,
        memory_width: int,
        width: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.horizon = horizon
        self.pool = MemoryPool(memory_width)
        inputs = memory_width + horizon * (action_dim + 1)
        self.mlp = MLP([inputs, *[width] * layers, outputs], activation="silu")

    def encode(self, memory: Tensor, action: Tensor, mask: Tensor | None) -> Tensor:
        """Return features `(B, outputs)`."""
        if action.shape[1:] != (self.horizon, self.action_dim):
            message = (
                f"action has shape {tuple(action.shape)}, expected (B, {self.horizon}, "
                f"{self.action_dim}): horizon and action_dim of the posterior decide"
            )
            raise ValueError(message)
        known = action.new_ones(action.shape[:2]) if mask is None else mask.to(action.dtype)
        seen = action if mask is None else torch.where(mask.unsqueeze(-1), action, 0)
        features: Tensor = self.mlp(torch.cat([self.pool(memory), seen.flatten(1), known], dim=1))
        return features


class GaussianPosterior(_ChunkEncoder):
    """The normal distribution `q(z | observation, chunk)` of a variational policy.

    Args:
        action_dim: Dimensions A of an action.
        horizon: Chunk length H.
        latent_dim: Dimensions Z of the latent.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Hidden layers.
    """

    def __init__(
        self,
        action_dim: Positive,
        horizon: Positive,
        latent_dim: Positive = 16,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Positive = 2,
    ) -> None:
        super().__init__(action_dim, horizon, 2 * latent_dim, memory_width, width, layers)
        self.latent_dim = latent_dim

    def forward(
        self, memory: Tensor, action: Tensor, mask: Tensor | None = None
    ) -> DiagonalGaussian:
        """Return mean and log variance, `(B, Z)` each, the latter within [-8, 4].

        Args:
            memory: `(B, M, D)`.
            action: Normalised chunk `(B, H, A)`.
            mask: `(B, H)` bool, True where real; None: all real. Padded actions are not seen.

        Raises:
            ValueError: The chunk has another shape than the block was built for.
        """
        mean, log_variance = self.encode(memory, action, mask).chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))


class TokenPosterior(_ChunkEncoder):
    """Latent tokens of a chunk before they are quantised.

    Args:
        action_dim: Dimensions A of an action.
        horizon: Chunk length H.
        tokens: Latent tokens K, each quantised by itself.
        latent_dim: Dimensions Z of a token, those of the codebook.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Hidden layers.
    """

    def __init__(
        self,
        action_dim: Positive,
        horizon: Positive,
        tokens: Positive = 4,
        latent_dim: Positive = 64,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Positive = 2,
    ) -> None:
        super().__init__(action_dim, horizon, tokens * latent_dim, memory_width, width, layers)
        self.tokens = tokens
        self.latent_dim = latent_dim

    def forward(self, memory: Tensor, action: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return latents `(B, K, Z)`; arguments as in `GaussianPosterior`."""
        latents = self.encode(memory, action, mask)
        return latents.reshape(-1, self.tokens, self.latent_dim)
