from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from policy_constructor.errors import ConfigError
from trainer_core.discovery.plugins import Plugins, discover
from trainer_core.instantiate import instantiate
from trainer_core.losses import TorchLoss


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return discover()


def test_nested_specs_are_built_first(plugins: Plugins) -> None:
    spec = {"_type_": "torch", "fn": {"_type_": "nn.HuberLoss", "delta": 2.0}}
    loss = instantiate(spec, plugins, kind="loss")
    assert isinstance(loss, TorchLoss)
    assert isinstance(loss.fn, nn.HuberLoss)


def test_positional_and_keyword_extras_are_passed(plugins: Plugins) -> None:
    spec = {"_type_": "nn.Linear", "_args_": [3], "_kwargs_": {"out_features": 2}}
    layer = instantiate(spec, plugins)
    assert (layer.in_features, layer.out_features) == (3, 2)


def test_callable_gets_what_is_supplied(plugins: Plugins) -> None:
    assert instantiate(lambda a, b: a + b, plugins, a=1, b=2) == 3


def takes(width: int, *, depth: int = 1) -> None:
    if width < 0:
        msg = "width must not be negative"
        raise ValueError(msg)
    del depth


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widht": 1}, "error: widht: takes has no parameter 'widht'; did you mean 'width'?"),
        ({}, "error: takes needs 'width'"),
        ({"width": -1}, "error: takes: width must not be negative"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    plugins: Plugins, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        instantiate(takes, plugins, **arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("spec", "supplied", "message"),
    [
        ({"fn": 1}, {}, "a component needs '_type_'; found fn"),
        (
            {"_type_": "loss.torch", "fn": 1},
            {"fn": 2},
            "loss.torch gets 'fn' from the engine; remove the key",
        ),
        ({"_type_": "loss.torhc"}, {}, "did you mean 'torch'?"),
    ],
)
def test_unusable_specs_are_explained(
    plugins: Plugins, spec: dict[str, Any], supplied: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        instantiate(spec, plugins, kind="loss", **supplied)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("loss.torch", "a mapping with '_type_' or something to call, not 'loss.torch'"),
        ({"_type_": "nn.ReLU", "_args_": 3}, "'_args_' of nn.ReLU must be a list of values"),
        ({"_type_": "nn.ReLU", "_kwargs_": 3}, "'_kwargs_' of nn.ReLU must be a mapping"),
        ({"_type_": "nn.ReLU", 3: 4}, "the names of parameters are text; nn.ReLU was given 3"),
        (
            {"_type_": "nn.ReLU", "inplace": True, "_kwargs_": {"inplace": True}},
            "nn.ReLU is given 'inplace' twice, once in '_kwargs_'",
        ),
        ({"_type_": "nn.Linear", "in_features": "a", "out_features": 1}, "nn.Linear: empty()"),
    ],
)
def test_spec_of_the_wrong_form_is_named(plugins: Plugins, spec: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        instantiate(spec, plugins)
    assert message in str(caught.value)


def test_unknown_kind_names_the_nearest(plugins: Plugins) -> None:
    with pytest.raises(ConfigError, match=r"there is no kind of component 'los'.* 'loss'"):
        instantiate({"_type_": "torch"}, plugins, kind="los")
