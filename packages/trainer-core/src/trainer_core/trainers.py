"""The trainer for one supervised model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from policy_constructor.errors import ConfigError, Problem
from trainer_core.protocols import Exportable
from trainer_core.step import LossTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from trainer_core.normalize import Normalizer
    from trainer_core.protocols import Batch, IOMapping, StepContext

__all__ = ["DefaultTrainer"]


class DefaultTrainer(LossTrainer):
    """Trains one model: its inputs and targets come from `io`, the rest is `loss`.

    Args:
        models: One component.
        optimizers: Its optimizer.
        loss: Called as `loss(prediction, target)`; with several targets, `target` is a dict.
        device: Where the model and the batches are.
        io: Which parts of a batch are inputs and targets; the `io:` section.

    Raises:
        ConfigError: There are several components, or `io` or `loss` is missing.
    """

    def __init__(
        self,
        models: nn.ModuleDict,
        optimizers: Mapping[str, torch.optim.Optimizer],
        loss: nn.Module | None,
        device: torch.device | str,
        io: IOMapping | None = None,
    ) -> None:
        if len(models) != 1:
            message = f"trainer.default trains one model; the file has {', '.join(models)}"
            raise ConfigError(Problem(message, path="models"))
        for section, value in (("io", io), ("loss", loss)):
            if value is None:
                raise ConfigError(Problem("trainer.default needs this section", path=section))
        super().__init__(models, optimizers, loss, device)
        self.io: Any = io
        self._criterion: Any = loss
        self.model = next(iter(models.values()))

    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Return the loss of the model's prediction."""
        targets = self.io.loss_targets(batch)
        target = targets if len(targets) != 1 else next(iter(targets.values()))
        return self._criterion(self.predict(batch, step), target), {}

    def predict(self, data: Batch, step: StepContext) -> Any:
        """Return what the model makes of its inputs."""
        del step
        return self.model(**self.io.model_inputs(data))

    def exportable(self, normalizer: Normalizer, batch: Batch) -> Exportable:
        """Return the model with the normalisation of its inputs, to be exported.

        The prediction is in the data set's units if it has one target that is normalised.
        """
        read, targets = _Seen(batch), _Seen(batch)
        self.io.model_inputs(read)
        self.io.loss_targets(targets)
        target = next(iter(targets.seen)) if len(targets.seen) == 1 else None
        inputs = {key: batch[key] for key in read.seen}
        module = _Predict(self, normalizer, tuple(inputs), target)
        return Exportable(module, inputs, ("prediction",))


class _Seen(dict[str, Any]):
    """A batch that notes which of its keys are read."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.seen: dict[str, None] = {}

    def __getitem__(self, key: str) -> Any:
        self.seen[key] = None
        return super().__getitem__(key)


class _Predict(nn.Module):
    """Batch keys by position -> the prediction, in the data set's units."""

    def __init__(
        self,
        trainer: DefaultTrainer,
        normalizer: Normalizer,
        keys: tuple[str, ...],
        target: str | None,
    ) -> None:
        super().__init__()
        self.model = trainer.model
        self.normalizer = normalizer
        self.io = trainer.io
        self.keys = keys
        self.target = target if target in normalizer.keys else None

    def forward(self, *values: Tensor) -> Any:
        """Return what the model makes of the normalised values."""
        batch = self.normalizer.normalize(dict(zip(self.keys, values, strict=True)))
        prediction = self.model(**self.io.model_inputs(batch))
        if self.target is None:
            return prediction
        return self.normalizer.unnormalize(self.target, prediction)
