"""The gate of a mixture of experts: which expert a latent belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from experiments_il.blocks.chunk_encoder import MemoryPool
from policy_constructor.blocks.basic import MLP

if TYPE_CHECKING:
    from policy_constructor.ranges import Positive, PositiveNumber

__all__ = ["ExpertGate"]


class ExpertGate(nn.Module):
    """MLP from latent and observation to logits over experts, uniform at the start.

    Layer norms are on hidden layers only: on the logits they would cap the gate's certainty.

    Args:
        experts: Experts E.
        latent_dim: Dimensions Z of the latent.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Hidden layers.
        temperature: What the logits are divided by. Higher: softer choices.
    """

    def __init__(
        self,
        experts: Positive = 4,
        latent_dim: Positive = 16,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Positive = 2,
        temperature: PositiveNumber = 1.0,
    ) -> None:
        super().__init__()
        self.experts = experts
        self.temperature = temperature
        self.pool = MemoryPool(memory_width)
        self.hidden = MLP(
            [memory_width + latent_dim, *[width] * layers], activation="silu", norm="layer"
        )
        self.activation = nn.SiLU()
        self.output = nn.Linear(width, experts)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, memory: Tensor, z: Tensor) -> Tensor:
        """Return logits `(B, E)` of a latent `(B, Z)` and a memory `(B, M, D)`."""
        features = self.hidden(torch.cat([self.pool(memory), z], dim=1))
        logits: Tensor = self.output(self.activation(features))
        return logits / self.temperature
