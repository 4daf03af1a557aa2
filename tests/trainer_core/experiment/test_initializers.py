from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from torch import nn

from trainer_core import load_experiment
from trainer_core.engine.models import build_models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCE = """\
def ones(weight):
    weight.fill_(1.0)

def scaled(weight, scale):
    weight.mul_(scale)
"""


@pytest.fixture
def ones(fake_wheel: Callable[..., Path]) -> None:
    names = {"ones": "acme_init:ones", "scaled": "acme_init:scaled"}
    fake_wheel("acme", {"trainer_core.initializers": names}, {"acme_init.py": SOURCE})


def problems_of(config: dict[str, Any], *overrides: str) -> list[tuple[str, str, tuple[str, ...]]]:
    found = load_experiment(config, overrides, strict=False).problems
    return [(problem.path, problem.message, problem.suggestions) for problem in found]


@pytest.mark.usefixtures("ones")
@pytest.mark.parametrize("name", ["ones", "init.ones", "acme::ones"])
def test_initialiser_of_a_wheel_fills_the_weights(name: str, tiny: dict[str, Any]) -> None:
    models = build_models(load_experiment(tiny, [f"model.init={name}"]))
    layer = next(part for part in models.modules() if isinstance(part, nn.Linear))
    assert layer.weight.eq(1).all()
    assert not layer.bias.any()


def test_unknown_initialiser_names_the_nearest(tiny: dict[str, Any]) -> None:
    assert problems_of(tiny, "model.init=xaviar") == [
        ("model.init", "unknown initialiser 'xaviar'", ("xavier",))
    ]


def test_component_of_another_kind_is_no_initialiser(tiny: dict[str, Any]) -> None:
    assert problems_of(tiny, "model.init=loss.torch") == [
        ("model.init", "'loss.torch' is a loss, not an initialiser", ())
    ]


@pytest.mark.usefixtures("ones")
def test_initialiser_that_needs_more_than_a_weight_is_refused(tiny: dict[str, Any]) -> None:
    message = "init.scaled is called with a weight alone, it takes (weight, scale)"
    assert problems_of(tiny, "model.init=scaled") == [("model.init", message, ())]
