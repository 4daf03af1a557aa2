"""The flow-matching policy: a velocity field over action chunks, conditioned on observations.

Source: Lipman et al., arXiv:2210.02747; as a policy: Black et al., "pi0", arXiv:2410.24164.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments_il.flow import velocity_target
from experiments_il.sample_losses import tell_chunk_losses
from experiments_il.trainers.chunk_policy import (
    ACTION_DECODER,
    ChunkPolicyTrainer,
    check_chunk_loss,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn

    from trainer_core.protocols import Batch, StepContext

__all__ = ["NaiveFlowMatchingPolicyTrainer"]


class NaiveFlowMatchingPolicyTrainer(ChunkPolicyTrainer):
    """Trains a conditional flow-matching policy without a latent variable.

    Components of `models:`: `state_encoder` (state history to tokens), one backbone for each
    entry of `cameras` (image history to tokens), one frozen model for each entry of `depth_models`,
    `info_embedder` (tokens by observation key to memory) and `action_decoder` (noisy chunk, time,
    memory to velocity; with `cache` and `step`).

    The batch holds `action_key` `(B, H, A)`, optionally `<action_key>_is_pad` `(B, H)`, and the
    observations `(B, T, ...)` or `(B, ...)`.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: Called as `loss(velocity, target, mask)`, for example `l2`.
        device: Where the components are.
        settings: What `ChunkPolicyTrainer` takes.

    Raises:
        UserError: A component is missing or does not fit, or a value is out of its range.
    """

    def __init__(
        self,
        models: nn.ModuleDict,
        optimizers: Mapping[str, torch.optim.Optimizer],
        loss: nn.Module | None,
        device: torch.device | str,
        **settings: Any,
    ) -> None:
        super().__init__(models, optimizers, loss, device, **settings)
        self.velocity_loss = check_chunk_loss(loss)

    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Return the velocity loss at one random time per sample."""
        data = self.chunks(batch)
        x_t, noise, t = self.draw(data, step)
        velocity = self.models[ACTION_DECODER](x_t, t, self.encode(batch, step))
        target, mask = velocity_target(noise, data), self.mask(batch)
        tell_chunk_losses(step, self.velocity_loss, velocity, target, mask)
        return self.velocity_loss(velocity, target, mask), {}

    def loss_weight(self, batch: Batch) -> Tensor | int:
        """Return the number of real actions, which the loss is a mean over."""
        mask = self.mask(batch)
        if mask is None:
            return int(self.chunks(batch).shape[0])
        return mask.sum()
