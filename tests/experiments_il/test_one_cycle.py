"""AdamW with one cycle of the learning rate, step by step against torch."""

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from experiments_il.optim import AdamWCosineSchedule
from trainer_core.errors import UserError


def rates(factory: AdamWCosineSchedule, steps: int, total_steps: int) -> list[float]:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = factory.build([{"params": [parameter], "name": "model"}])
    schedule = factory.schedule(optimizer, total_steps)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("total", "share"), [(50, 0.3), (7, 0.5), (100, 0.05), (20, 1.0)])
def test_rates_equal_those_of_torch(total: int, share: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    oracle = OneCycleLR(optimizer, 2e-3, total_steps=total, pct_start=share, cycle_momentum=False)
    expected = []
    for _ in range(total):
        expected.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if len(expected) < total:
            oracle.step()
    found = rates(AdamWCosineSchedule(2e-3, pct_start=share), total, total)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_last_rate_is_held_after_the_cycle() -> None:
    found = rates(AdamWCosineSchedule(1e-3, total_steps=5), 9, 1000)
    assert found[4:] == pytest.approx([1e-3 / 25 / 1e4] * 5)


def test_groups_keep_their_names() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = AdamWCosineSchedule().build([{"params": [parameter], "name": "model"}])
    assert optimizer.param_groups[0]["name"] == "model"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_lr": 0.0}, "max_lr must be above 0, got 0"),
        ({"div_factor": -1.0}, "div_factor must be above 0, got -1"),
        ({"pct_start": 1.5}, "pct_start must be between 0 and 1, got 1.5"),
    ],
)
def test_impossible_values_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        AdamWCosineSchedule(**options)  # type: ignore[arg-type]
    assert str(caught.value) == message
