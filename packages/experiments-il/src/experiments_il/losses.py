"""Losses over padded chunks: every one is a mean over the real elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["L2", "L2Loss", "masked_mean"]


def masked_mean(error: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of `error` over real elements, a scalar.

    `sum(mask * error) / (A * max(1, sum(mask)))`: with no real element the result is 0. A padded
    element reaches neither the value nor a gradient, whatever it holds, infinities included.

    Args:
        error: `(B, H, A)`.
        mask: `(B, H)` bool, True where real; None: all real.
    """
    if mask is None:
        return error.mean()
    weight = mask.unsqueeze(-1)
    total = torch.where(weight, error, 0).sum()
    return total / (error.shape[-1] * mask.sum().clamp(min=1))


class L2(nn.Module):
    """Mean squared error over the real elements of a chunk."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the scalar loss.

        Args:
            prediction: `(B, H, A)`, for example a velocity.
            target: Same shape.
            mask: `(B, H)` bool, True where real; None: all real.
        """
        if mask is None:
            return nn.functional.mse_loss(prediction, target)
        # Padded targets are replaced before the difference, so that no gradient passes them.
        known = torch.where(mask.unsqueeze(-1), target, prediction.detach())
        return masked_mean((prediction - known).square(), mask)


class L2Loss:
    """Factory of the masked mean squared error, `loss.l2`."""

    def build(self) -> Callable[..., Tensor]:
        """Return the loss module, called as `loss(prediction, target, mask)`."""
        return L2()
