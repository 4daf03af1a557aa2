"""Brings a latent into the memory of an action decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from policy_constructor.ranges import Positive

__all__ = ["LatentEmbedder"]


class LatentEmbedder(nn.Module):
    """Linear map from latents to memory tokens, with learned tokens for "no latent".

    Args:
        latent_dim: Dimensions Z of a latent.
        width: Width D of a memory token.
        tokens: Tokens K of the latent.
        null: Have learned tokens that stand for no latent, for classifier-free guidance.
    """

    def __init__(
        self,
        latent_dim: Positive = 16,
        width: Positive = 256,
        tokens: Positive = 1,
        null: bool = False,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.latent_dim = latent_dim
        self.project = nn.Linear(latent_dim, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.null: nn.Parameter | None = None
        if null:
            self.null = nn.Parameter(torch.randn(tokens, width) * 0.02)

    def forward(self, latent: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return tokens `(B, K, D)`.

        Args:
            latent: `(B, K, Z)`, or `(B, Z)` for one token.
            keep: `(B,)` bool, False where the latent is hidden; None: all are kept.

        Raises:
            ValueError: A latent is to be hidden and the block was built without `null`.
        """
        tokens: Tensor = self.project(latent.reshape(-1, self.tokens, self.latent_dim))
        tokens = tokens + self.position
        if keep is None:
            return tokens
        return torch.where(keep[:, None, None], tokens, self.hidden(keep.shape[0]).to(tokens.dtype))

    def hidden(self, count: int) -> Tensor:
        """Return the tokens that stand for no latent, `(count, K, D)`.

        Raises:
            ValueError: The block was built without `null`.
        """
        if self.null is None:
            message = "the latent embedder has no tokens for a hidden latent; set null: true"
            raise ValueError(message)
        return self.null.expand(count, -1, -1)
