from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from policy_constructor.errors import ConfigError
from trainer_core.optim import TorchOptimizerFactory, TorchSchedulerFactory


def groups() -> list[dict[str, Any]]:
    return [{"params": [torch.zeros(1, requires_grad=True)], "name": "net"}]


@pytest.mark.parametrize("name", ["AdamW", "optim_cls.AdamW"])
def test_optimizer_is_found_by_its_name(name: str) -> None:
    optimizer = TorchOptimizerFactory(name, {"lr": 0.5}).build(groups())
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0]["name"] == "net"


def test_schedule_takes_the_length_of_the_run() -> None:
    optimizer = TorchOptimizerFactory("SGD", {"lr": 1.0}).build(groups())
    schedule = TorchSchedulerFactory("CosineAnnealingLR").build(optimizer, 40)
    assert isinstance(schedule, CosineAnnealingLR)
    assert schedule.T_max == 40


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: TorchOptimizerFactory("AdmW"),
            "torch.optim has no 'AdmW'; did you mean 'AdamW' or 'Adam' or 'RAdam'?",
        ),
        (
            lambda: TorchOptimizerFactory("SGD", {"lrr": 1}).build(groups()),
            "SGD has no parameter 'lrr'; did you mean 'lr'?",
        ),
        (
            lambda: TorchOptimizerFactory("SGD", {"lr": -1.0}).build(groups()),
            "SGD: Invalid learning rate: -1.0",
        ),
        (
            lambda: TorchSchedulerFactory("ReduceLROnPlateau"),
            "ReduceLROnPlateau needs 'interval: metric' and a 'monitor'",
        ),
        (
            lambda: TorchSchedulerFactory("StepLR", interval="metric"),
            "'interval: metric' needs 'monitor', the name of a metric",
        ),
        (
            lambda: TorchSchedulerFactory("StepLR", monitor="val/loss"),
            "'monitor' is used with 'interval: metric', not 'step'",
        ),
    ],
)
def test_mistakes_are_explained(call: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value).endswith(message)
