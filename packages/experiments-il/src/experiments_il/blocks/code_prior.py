"""Priors over the codes of a chunk: which codebook entries to condition on when acting.

Both offer the same interface: `forward` predicts, `fit` measures the prediction against what the
posterior found, `choose` turns it into codes.

Shapes: B batch, M memory tokens, D memory width, K latent tokens, Z latent dimensions, C codes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments_il.blocks.chunk_encoder import MemoryPool
from policy_constructor.blocks.basic import MLP

if TYPE_CHECKING:
    from experiments_il.blocks.codebook import NSVQCodebook
    from policy_constructor.ranges import Fraction, Positive

__all__ = ["CategoricalCodePrior", "RegressionCodePrior"]


class CategoricalCodePrior(nn.Module):
    """A distribution over the codes of each latent token: it can hold several modes.

    Tokens are drawn independently of one another: where several of them say which mode a chunk is
    of, draws may contradict each other. One token with more codes avoids that.

    Args:
        codes: Codes C of the codebook.
        tokens: Latent tokens K, predicted independently of one another.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Hidden layers.
        label_smoothing: Share of the probability spread over all codes in training.
        greedy: Choose the likeliest code instead of drawing one.
    """

    def __init__(
        self,
        codes: Positive = 8,
        tokens: Positive = 4,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Positive = 2,
        label_smoothing: Fraction = 0.05,
        greedy: bool = False,
    ) -> None:
        super().__init__()
        self.codes = codes
        self.tokens = tokens
        self.label_smoothing = label_smoothing
        self.greedy = greedy
        self.pool = MemoryPool(memory_width)
        self.mlp = MLP([memory_width, *[width] * layers, tokens * codes], activation="silu")

    def forward(self, memory: Tensor) -> Tensor:
        """Return logits `(B, K, C)` of a memory `(B, M, D)`."""
        logits: Tensor = self.mlp(self.pool(memory))
        return logits.reshape(-1, self.tokens, self.codes)

    def fit(self, logits: Tensor, latents: Tensor, codes: Tensor) -> Tensor:
        """Return the cross-entropy to the codes `(B, K)`, averaged over tokens, `(B,)`."""
        del latents
        smoothing = self.label_smoothing
        loss = F.cross_entropy(
            logits.float().flatten(0, 1),
            codes.flatten(),
            reduction="none",
            label_smoothing=smoothing,
        )
        return loss.reshape(codes.shape).mean(dim=1)

    def choose(self, logits: Tensor, noise: Tensor, codebook: NSVQCodebook) -> Tensor:
        """Return codes `(B, K)`; normal `noise` `(B, K)` decides, through its distribution."""
        del codebook
        if self.greedy:
            return logits.argmax(dim=-1)
        level = 0.5 * (1 + torch.erf(noise.float() / math.sqrt(2)))
        below = torch.softmax(logits.float(), dim=-1).cumsum(dim=-1) < level.unsqueeze(-1)
        return below.sum(dim=-1).clamp(max=self.codes - 1)


class RegressionCodePrior(nn.Module):
    """Predicts the latent and takes the nearest code: of several modes it takes an arbitrary one.

    Args:
        latent_dim: Dimensions Z of a latent token.
        tokens: Latent tokens K.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Hidden layers.
    """

    def __init__(
        self,
        latent_dim: Positive = 64,
        tokens: Positive = 4,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Positive = 2,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.tokens = tokens
        self.pool = MemoryPool(memory_width)
        self.mlp = MLP([memory_width, *[width] * layers, tokens * latent_dim], activation="silu")

    def forward(self, memory: Tensor) -> Tensor:
        """Return latents `(B, K, Z)` of a memory `(B, M, D)`."""
        latents: Tensor = self.mlp(self.pool(memory))
        return latents.reshape(-1, self.tokens, self.latent_dim)

    def fit(self, predicted: Tensor, latents: Tensor, codes: Tensor) -> Tensor:
        """Return the mean squared error to the latents `(B, K, Z)`, `(B,)`."""
        del codes
        return (predicted - latents.detach()).square().mean(dim=(1, 2))

    def choose(self, predicted: Tensor, noise: Tensor, codebook: NSVQCodebook) -> Tensor:
        """Return the nearest codes `(B, K)`; the noise is not used."""
        del noise
        return codebook.assign(predicted)
