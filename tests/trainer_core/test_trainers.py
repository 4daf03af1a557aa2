from __future__ import annotations

import pytest
import torch
from torch import nn

from policy_constructor.errors import ConfigError
from trainer_core.io import Mapping
from trainer_core.trainers import DefaultTrainer

CPU = torch.device("cpu")


class Doubler(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


class PairLoss(nn.Module):
    def forward(self, prediction: torch.Tensor, target: dict[str, torch.Tensor]) -> torch.Tensor:
        return (prediction - target["a"] - target["b"]).abs().mean()


@pytest.mark.parametrize(
    ("loss", "targets", "expected"),
    [
        (nn.L1Loss(), {"a": ["a"]}, 1.0),
        (PairLoss(), {"a": ["a"], "b": ["b"]}, 0.0),
    ],
)
def test_loss_compares_prediction_with_targets(
    loss: nn.Module, targets: dict[str, list[str | int]], expected: float
) -> None:
    io = Mapping({"x": ["x"]}, targets)
    trainer = DefaultTrainer(nn.ModuleDict({"m": Doubler()}), {}, loss, CPU, io=io)
    batch = {"x": torch.ones(4), "a": torch.ones(4), "b": torch.ones(4)}
    context = trainer.make_context(batch, step=0, epoch=0)
    assert float(trainer.compute_losses(batch, context)[0]) == expected


def test_only_one_model_is_taken() -> None:
    models = nn.ModuleDict({"a": Doubler(), "b": Doubler()})
    with pytest.raises(ConfigError, match=r"trainer.default trains one model; the file has a, b"):
        DefaultTrainer(models, {}, nn.L1Loss(), CPU)


def test_missing_section_is_named() -> None:
    with pytest.raises(ConfigError, match=r"error: io: trainer.default needs this section"):
        DefaultTrainer(nn.ModuleDict({"m": Doubler()}), {}, nn.L1Loss(), CPU)
