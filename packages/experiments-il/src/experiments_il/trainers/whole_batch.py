"""Terms of a loss that depend on the whole batch, however it is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments_il.losses import SinkhornKnopp
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainer_core.protocols import Batch, StepContext
    from trainer_core.ranks import Ranks
    from trainer_core.step import StepOptions

__all__ = [
    "check_group",
    "mean_over_actions",
    "mean_real_actions",
    "transport_loss",
    "transport_states",
]


def mean_real_actions(mask: Tensor | None, ranks: Ranks, context: StepContext) -> Tensor | None:
    """Return the real actions of a sample, averaged over the global batch; None: all are real.

    A micro-batch of n samples that divides its sum by n times this is its share of a mean over all
    real actions, so terms of this kind and means over samples add up alike.

    Args:
        mask: `(B, H)` bool of this rank's part of the batch.
        ranks: The processes; asked only while training, when all have equal parts.
        context: The step.
    """
    if mask is None:
        return None
    mean = mask.sum() / mask.shape[0]
    if context.training:
        mean = ranks.sum(mean) / ranks.world_size
    return mean.clamp(min=1e-12)


def mean_over_actions(error: Tensor, real_actions: Tensor | None) -> Tensor:
    """Return a (micro-)batch's share of the mean over all real actions, a scalar.

    Args:
        error: `(B, H)`, 0 where padded.
        real_actions: What `mean_real_actions` returned for the whole batch.
    """
    if real_actions is None:
        return error.mean()
    return error.sum() / (error.shape[0] * real_actions)


def transport_loss(loss: nn.Module | None) -> SinkhornKnopp | None:
    """Return the loss if it is a transport loss, or None.

    Raises:
        UserError: It is another one.
    """
    if loss is None or isinstance(loss, SinkhornKnopp):
        return loss
    message = (
        f"the `loss:` section of this trainer is its transport loss, not {type(loss).__name__}; "
        "use `loss: {_type_: sinkhorn_knopp}`, or none"
    )
    raise UserError(message)


def check_group(transport: SinkhornKnopp | None, options: StepOptions) -> None:
    """Check that the groups of a transport loss do not straddle micro-batches.

    Raises:
        UserError: They would; the message proposes the nearest size that fits.
    """
    if transport is None or options.global_batch is None:
        return
    size = options.global_batch // (options.ranks.world_size * options.grad_accum_steps)
    if size % transport.group:
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        near = min(divisors, key=lambda d: abs(d - transport.group))
        message = (
            f"loss.group is {transport.group} and a micro-batch has {size} samples: the groups of "
            f"the transport loss must divide it, as {near} does"
        )
        raise UserError(message)


def transport_states(batch: Batch, state_key: str, memory: Tensor) -> Tensor:
    """Return what keeps the transport local, `(B, ...)`: the state, or without one the memory."""
    state: Tensor | None = batch.get(state_key)
    return memory.detach().mean(dim=1) if state is None else state.detach()
