"""Components of an invented wheel."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

from trainer_core import LossTrainer
from trainer_core.datasets import RandomRegression
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    import torch


class OwnStep:
    """Owns its whole step, and goes backward twice in it."""

    def __init__(self, models: Any, optimizers: Any, loss: Any, device: Any) -> None:
        self.model = next(iter(models.values()))
        self.optimizer = optimizers["default"]

    def train_step(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.optimizer.zero_grad()
        loss = (self.model(data["x"]) - data["y"]).square().mean()
        loss.backward()
        penalty = self.model(data["x"]).abs().mean()
        penalty.backward()
        self.optimizer.step()
        return {"loss": loss}


class Masked(LossTrainer):
    """A mean over the samples that count, which the ranks have different numbers of."""

    metric_reductions: ClassVar[dict[str, str]] = {"largest": "max"}

    def compute_losses(self, batch: Any, step: Any) -> Any:
        prediction = next(iter(self.models.values()))(batch["x"])
        error = (prediction - batch["y"]).square().mean(1)
        mask = self.mask(batch)
        return (error * mask).sum() / mask.sum(), {"largest": batch["x"].max()}

    def loss_weight(self, batch: Any) -> torch.Tensor:
        return self.mask(batch).sum()

    def mask(self, batch: Any) -> torch.Tensor:
        counted: torch.Tensor = batch["x"][:, 0] > 0.4
        return counted.float()


class Failing(LossTrainer):
    """Fails on rank 1 in the third step."""

    def compute_losses(self, batch: Any, step: Any) -> Any:
        if step.step == 2 and self.options.ranks.rank == 1:
            message = "a bug on rank 1"
            raise ZeroDivisionError(message)
        return next(iter(self.models.values()))(batch["x"]).square().mean(), {}


class Diverging(LossTrainer):
    """Has a gradient that is no number in the third step, on the last rank."""

    def compute_losses(self, batch: Any, step: Any) -> Any:
        ranks = self.options.ranks
        error = (next(iter(self.models.values()))(batch["x"]) - batch["y"]).square().mean()
        is_bad = step.step == 2 and ranks.rank == ranks.world_size - 1
        return error * float("nan") if is_bad else error, {}


class Penalised(LossTrainer):
    """Uses weights of a component beside its forward pass, and a frozen component."""

    def compute_losses(self, batch: Any, step: Any) -> Any:
        head = self.models["head"]
        error = (head(batch["x"]) - self.models["frozen"](batch["x"])).square().mean()
        penalty = sum(parameter.square().sum() for parameter in head.parameters())
        return error + (head(batch["x"]) - batch["y"]).square().mean() + 0.1 * penalty, {}

    def train_step(self, data: Any, **where: Any) -> dict[str, Any]:
        return {**super().train_step(data, **where), "extra": 1.0}


class Copying(Diverging):
    """Has a copy of a component, as averages of weights are made."""

    def __init__(self, models: Any, **others: Any) -> None:
        models["copy"] = deepcopy(next(iter(models.values())))
        super().__init__(models, **others)


class MissingOnRank1(RandomRegression):
    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        if opt_params["local_rank"] == 1:
            message = "the disk of this machine has no data"
            raise DatasetError(message)
        return super().build(opt_params, params)
