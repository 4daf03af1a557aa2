"""A trainer that says what its model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer_core import LossTrainer

if TYPE_CHECKING:
    from torch import Tensor

    from trainer_core.api import Batch, StepContext

__all__ = ["VerboseTrainer"]


class VerboseTrainer(LossTrainer):
    """Trains one model on `x` and `y`, and logs the mean and the spread of its predictions.

    Args:
        models: One component.
        optimizers: Its optimizer.
        loss: Called as `loss(prediction, target)`.
        device: Where the model and the batches are.
        spread: Whether the standard deviation of the predictions is logged as well.
    """

    def __init__(
        self, models: Any, optimizers: Any, loss: Any, device: Any, spread: bool = True
    ) -> None:
        super().__init__(models, optimizers, loss, device)
        self.criterion = loss
        self.model = next(iter(models.values()))
        self.spread = spread

    def compute_losses(self, batch: Batch, step: StepContext) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, and what the predictions are like."""
        del step
        prediction = self.model(batch["x"])
        metrics = {"prediction": prediction.mean()}
        if self.spread:
            metrics["prediction_std"] = prediction.std()
        return self.criterion(prediction, batch["y"]), metrics
