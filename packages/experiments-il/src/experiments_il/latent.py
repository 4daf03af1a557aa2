"""Normal distributions over latents, and their divergence.

Shapes: B batch, Z latent dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LOG_VARIANCE_RANGE", "DiagonalGaussian", "kl_divergence", "standard_kl"]

LOG_VARIANCE_RANGE = (-8.0, 4.0)
"""What a network's log variances are clamped to: neither a spike nor a flood."""


class DiagonalGaussian(NamedTuple):
    """Independent normal distributions.

    Attributes:
        mean: `(B, Z)`.
        log_variance: `(B, Z)`.
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return `mean + sigma noise`, differentiable; `noise` is standard normal `(B, Z)`."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


def kl_divergence(q: DiagonalGaussian, p: DiagonalGaussian) -> Tensor:
    """Return `KL(q || p)` of each dimension, float32 `(B, Z)`; sum it over Z."""
    difference = (q.mean - p.mean).float()
    log_ratio = (p.log_variance - q.log_variance).float()
    scaled = torch.exp(-log_ratio) + difference.square() * torch.exp(-p.log_variance.float())
    return 0.5 * (log_ratio + scaled - 1)


def standard_kl(q: DiagonalGaussian) -> Tensor:
    """Return `KL(q || N(0, I))` of each dimension, float32 `(B, Z)`."""
    log_variance = q.log_variance.float()
    return 0.5 * (torch.exp(log_variance) + q.mean.float().square() - 1 - log_variance)
