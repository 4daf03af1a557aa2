"""Two autoencoders, in whose latents the worth of demonstrations is measured (DemInf).

Source: Hejna et al., "Robot Data Curation with Mutual Information Estimators", arXiv:2502.08623.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from experiments_il.latent import standard_kl
from experiments_il.trainers.chunk_policy import require
from trainer_core.errors import DatasetError, UserError
from trainer_core.step import LossTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from policy_constructor.ranges import NonNegative
    from trainer_core.protocols import Batch, StepContext

__all__ = ["MutualInformationEstimatorTrainer"]

_STATE, _ACTION = "state_vae", "action_vae"


class MutualInformationEstimatorTrainer(LossTrainer):
    """Trains a beta-VAE of the observations and one of the action chunks.

        total = sum over both of mean over samples of |x - rebuilt|^2 + beta KL(q || N(0, I))

    `trainer data score RUN` then ranks the episodes by what they contribute to the mutual
    information between the two latents. Relative actions serve this best.

    Components of `models:`: `action_vae`, and `state_vae` or one `image_vae` for each entry of
    `cameras`. There is no `loss:` section. Every term is a mean over samples, so micro-batches and
    several processes change nothing.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: None.
        device: Where the components are.
        beta: Weight of the divergence, which is summed over the latent. 0: an autoencoder whose
            distances mean little; too large: latents that say nothing. 0.05 for states, 0.01 for
            images.
        image_weight: Weight of the images' reconstruction error, a sum over pixels.
        state_key: Observation of `state_vae`; ignored without that component.
        cameras: Camera's observation key to the name of its autoencoder in `models:`.
        action_key: Key of the action chunks.

    Raises:
        UserError: A component is missing, or there is a `loss:` section.
    """

    batch_key_parameters: ClassVar = {
        "state_key": "state_vae",
        "cameras": None,
        "action_key": None,
    }
    parameter_check: ClassVar = "experiments_il.trainers.chunk_check:check"

    def __init__(
        self,
        models: nn.ModuleDict,
        optimizers: Mapping[str, torch.optim.Optimizer],
        loss: nn.Module | None,
        device: torch.device | str,
        *,
        beta: NonNegative = 0.05,
        image_weight: NonNegative = 0.005,
        state_key: str = "observation.state",
        cameras: dict[str, str] | None = None,
        action_key: str = "action",
    ) -> None:
        super().__init__(models, optimizers, None, device)
        if loss is not None:
            message = "this trainer brings its own loss; remove the `loss:` section"
            raise UserError(message)
        require(models, _ACTION, "action chunks to latents and back")
        for key, name in (cameras or {}).items():
            require(
                models, name, f"images of '{key}' to latents and back; trainer.cameras names it"
            )
        self.observations = {state_key: _STATE} if _STATE in models else {}
        self.observations |= cameras or {}
        if not self.observations:
            message = f"models: needs '{_STATE}', or trainer.cameras an image's autoencoder"
            raise UserError(message)
        self.weights = dict.fromkeys((cameras or {}).values(), image_weight)
        self.beta = beta
        self.action_key = action_key

    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Return the sum of the autoencoders' losses, and each error and divergence."""
        metrics: dict[str, Tensor | float] = {}
        total = torch.zeros((), device=self.device)
        of_samples: list[Tensor] = []
        for name, x, mask in self._inputs(batch):
            model: Any = self.models[name]
            error, posterior = model(x, step.random.normal(model.latent_dim, stream=name), mask)
            kl = standard_kl(posterior).sum(dim=-1)
            of_samples.append(self.weights.get(name, 1.0) * error + self.beta * kl)
            total = total + of_samples[-1].mean()
            metrics[f"{name}_error"] = error.mean()
            metrics[f"{name}_kl"] = kl.mean()
        if step.wants_sample_losses:
            step.tell_sample_losses(torch.stack(of_samples).sum(0))
        return total, metrics

    @torch.no_grad()
    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the latents of the observations `(B, Z1)` and of the chunks `(B, Z2)`.

        Args:
            batch: A normalised batch on the device.
        """
        found = {}
        for name, x, mask in self._inputs(batch):
            model: Any = self.models[name]
            found[name] = model.embed(x, mask)
        action = found.pop(_ACTION)
        return torch.cat(list(found.values()), dim=1), action

    def _inputs(self, batch: Batch) -> list[tuple[str, Tensor, Tensor | None]]:
        """Return each autoencoder's name, input and mask."""
        missing = [key for key in (*self.observations, self.action_key) if key not in batch]
        if missing:
            message = f"the batch has no {', '.join(missing)}; it has {', '.join(batch)}"
            raise DatasetError(message)
        pad = batch.get(f"{self.action_key}_is_pad")
        inputs: list[tuple[str, Tensor, Tensor | None]] = [
            (name, batch[key], None) for key, name in self.observations.items()
        ]
        return [*inputs, (_ACTION, batch[self.action_key], None if pad is None else ~pad)]
