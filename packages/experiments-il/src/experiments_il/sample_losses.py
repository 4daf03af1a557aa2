"""The loss of each sample of a batch, for whoever draws samples by it.

Shapes: B batch, H chunk length, A action dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainer_core.protocols import StepContext

__all__ = ["means_of_samples", "tell_chunk_losses", "tell_errors"]


def means_of_samples(error: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return each sample's mean over its real elements, `(B,)`; 0 of a sample without any.

    Weighted by the samples' numbers of real actions, they have the mean that the batch has.

    Args:
        error: `(B, H)` or `(B, H, A)`.
        mask: `(B, H)` bool, True where real; None: all real.
    """
    per_action = error.float().flatten(2).mean(-1) if error.ndim > 2 else error.float()
    if mask is None:
        return per_action.mean(1)
    return torch.where(mask, per_action, 0).sum(1) / mask.sum(1).clamp(min=1)


def tell_errors(step: StepContext, error: Tensor, mask: Tensor | None) -> None:
    """Tell each sample's mean error if somebody listens; arguments as of `means_of_samples`."""
    if step.wants_sample_losses:
        step.tell_sample_losses(means_of_samples(error.detach(), mask))


@torch.no_grad()
def tell_chunk_losses(
    step: StepContext, loss: nn.Module, prediction: Tensor, target: Tensor, mask: Tensor | None
) -> None:
    """Tell the losses of samples if somebody listens, and the loss says what they are.

    Args:
        step: The step.
        loss: Has `of_samples(prediction, target, mask)`, as `l1` and `l2` do; of others nothing
            is told.
        prediction: `(B, H, A)`.
        target: Same shape.
        mask: `(B, H)` bool, True where real; None: all real.
    """
    of_samples = getattr(loss, "of_samples", None)
    if step.wants_sample_losses and callable(of_samples):
        step.tell_sample_losses(of_samples(prediction, target, mask))
