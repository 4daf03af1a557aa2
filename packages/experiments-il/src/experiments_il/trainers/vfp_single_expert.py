"""Flow matching over several cameras with one expert, and the variant with depth features.

The variational policy's network without its latent: every camera has a backbone of its own, an
info embedder joins all tokens, a transformer decodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments_il.trainers.naive_flow_matching import NaiveFlowMatchingPolicyTrainer
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

__all__ = ["VFPSingleExpertDepthTrainer", "VFPSingleExpertTrainer"]


class VFPSingleExpertTrainer(NaiveFlowMatchingPolicyTrainer):
    """Trains the single-expert policy: conditional flow matching on cameras and proprioception.

    The loss is that of `naive_flow_matching_policy_trainer`; components and batch are the same.
    With `camera_drop`, training hides single cameras, and the policy bears the loss of one.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: Called as `loss(velocity, target, mask)`, for example `l2`.
        device: Where the components are.
        settings: What `ChunkPolicyTrainer` takes.

    Raises:
        UserError: A component is missing or does not fit, or a value is out of its range.
    """


class VFPSingleExpertDepthTrainer(VFPSingleExpertTrainer):
    """Trains the single-expert policy with features of a frozen depth model as further tokens.

    The frozen component stays in eval mode, gets no gradient and is in no optimizer. The usual loss
    is `l2`; earlier versions used `l1`, whose minimiser is the median of the velocity.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: Called as `loss(velocity, target, mask)`: `l2` or `l1`.
        device: Where the components are.
        settings: What `ChunkPolicyTrainer` takes; `depth_models` is required.

    Raises:
        UserError: There is no depth model, or another part is missing or does not fit.
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
        if not self.depth_models:
            message = (
                "this trainer needs trainer.depth_models: an observation key with the frozen "
                "component of models: that makes depth tokens of it"
            )
            raise UserError(message)
