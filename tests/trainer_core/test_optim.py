from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from policy_constructor.errors import ConfigError
from trainer_core.optim import (
    SequentialSchedulerFactory,
    TorchOptimizerFactory,
    TorchSchedulerFactory,
)


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


WARM_UP = {"type": "LinearLR", "steps": 4, "kwargs": {"start_factor": 0.1}}


def test_parts_of_a_schedule_follow_one_another() -> None:
    optimizer = TorchOptimizerFactory("SGD", {"lr": 1.0}).build(groups())
    factory = SequentialSchedulerFactory([WARM_UP, {"type": "CosineAnnealingLR"}])
    schedule = factory.build(optimizer, 10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.1, 0.325, 0.55, 0.775, 1.0])
    assert rates[5:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(1, 6)])
    assert factory.follows_run
    assert not SequentialSchedulerFactory([WARM_UP, WARM_UP]).follows_run


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "'parts' is a list of at least one part, such as {type: LinearLR, steps: 500}"),
        (["x"], "a part is a mapping such as {type: LinearLR, steps: 500}, not 'x'"),
        ([{"type": "StepLR"}, WARM_UP], "'steps' of a part is a whole number from 1, not None"),
        (
            [WARM_UP | {"step": 3}],
            "a part has type, steps, kwargs, not 'step'; did you mean 'steps'?",
        ),
        ([{"type": "LinerLR"}], "torch.optim.lr_scheduler has no 'LinerLR'; did you mean"),
        ([WARM_UP, WARM_UP], "the last part begins after 4 steps, and the run has 4"),
    ],
)
def test_wrong_parts_of_a_schedule_are_named(parts: Any, message: str) -> None:
    optimizer = TorchOptimizerFactory("SGD", {"lr": 1.0}).build(groups())
    with pytest.raises(ConfigError) as caught:
        SequentialSchedulerFactory(parts).build(optimizer, 4)
    assert message in str(caught.value)
