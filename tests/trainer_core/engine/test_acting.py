"""A trainer that only acts gets no optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torch import nn

from trainer_core.discovery.plugins import discover
from trainer_core.engine.trained import build_acting_trainer
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from tests.trainer_core.conftest import FakeWheel

EAGER = """
class Eager:
    def __init__(self, models, optimizers, loss, device):
        self.optimizer = optimizers["default"]

    def train_step(self, data, *, epoch, total_epochs, iterations, **kwargs):
        return {"loss": 0.0}
"""


def test_trainer_that_takes_an_optimizer_to_act_is_named(fake_wheel: FakeWheel) -> None:
    groups = {"trainer_core.trainers": {"eager": "eager_parts:Eager"}}
    fake_wheel("eager", groups, {"eager_parts.py": EAGER})
    config = {"trainer": {"_type_": "eager", "max_steps": 1}}
    with pytest.raises(UserError) as caught:
        build_acting_trainer(config, nn.ModuleDict(), "cpu", discover())
    assert str(caught.value) == (
        "eager takes optimizers['default'] in its constructor, and there are no optimizers where a "
        "trained policy is loaded; keep `optimizers` there and take it in train_step"
    )
