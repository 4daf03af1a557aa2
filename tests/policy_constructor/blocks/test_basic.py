"""Shapes, structure and refusals of the small blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from policy_constructor.blocks.basic import MLP, ConvBnAct, ResidualBlock, build_activation
from policy_constructor.blocks.ops import identity


def kinds(module: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in module.children()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["Linear", "ReLU", "Linear"]),
        ({"activation": None}, ["Linear", "Identity", "Linear"]),
        ({"activation": nn.GELU()}, ["Linear", "GELU", "Linear"]),
        ({"norm": "layer", "dropout": 0.1}, ["Linear", "LayerNorm", "ReLU", "Dropout", "Linear"]),
        ({"norm": "batch"}, ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
        ({"final_activation": "tanh"}, ["Linear", "ReLU", "Linear", "Tanh"]),
    ],
)
def test_mlp_has_the_layers_asked_for(options: dict[str, Any], expected: list[str]) -> None:
    mlp = MLP([4, 8, 2], **options)
    assert kinds(mlp.layers) == expected
    assert mlp(torch.zeros(3, 4)).shape == (3, 2)


def test_mlp_maps_the_last_dimension() -> None:
    assert MLP([4, 8, 2])(torch.zeros(5, 3, 4)).shape == (5, 3, 2)


def test_mlp_without_bias_has_weights_only() -> None:
    assert [name for name, _ in MLP([4, 2], bias=False).named_parameters()] == ["layers.0.weight"]


def test_activation_module_is_never_shared() -> None:
    mlp = MLP([2, 2, 2, 2], activation=nn.PReLU())
    assert len({id(layer) for layer in mlp.layers if isinstance(layer, nn.PReLU)}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": [4]}, "dims must list at least an input and an output width, got [4]"),
        ({"dims": [4, -1]}, "dims[1] must be a positive whole number, got -1"),
        ({"dims": [4, True]}, "dims[1] must be a positive whole number, got True"),
        ({"dims": [4, None, 2]}, "only the first of dims may be null, got [4, None, 2]"),
        ({"dims": [4, 2], "dropout": 1.0}, "dropout must be in [0, 1), got 1.0"),
        (
            {"dims": [4, 2, 2], "norm": "group"},
            "norm must be 'layer', 'batch' or null, got 'group'",
        ),
    ],
)
def test_mlp_refuses_wrong_values_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="got") as caught:
        MLP(**arguments)
    assert str(caught.value) == message


def test_unknown_activation_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"must be one of relu, gelu, .* got 'rellu'"):
        build_activation("rellu")  # type: ignore[arg-type] # the mistake under test


@pytest.mark.parametrize(
    ("options", "bias", "expected"),
    [
        ({}, False, ["Conv2d", "BatchNorm2d", "ReLU"]),
        ({"norm": None, "act": None}, True, ["Conv2d", "Identity", "Identity"]),
        ({"norm": nn.GroupNorm(2, 4), "act": "silu"}, False, ["Conv2d", "GroupNorm", "SiLU"]),
    ],
)
def test_convolution_has_a_bias_only_without_norm(
    options: dict[str, Any], bias: bool, expected: list[str]
) -> None:
    block = ConvBnAct(3, 4, **options)
    assert (kinds(block), "conv.bias" in dict(block.named_parameters())) == (expected, bias)


def test_convolution_finds_its_channels_from_the_input() -> None:
    block = ConvBnAct(None, 4, kernel_size=3, padding=1, stride=2)
    assert block(torch.zeros(2, 5, 9, 9)).shape == (2, 4, 5, 5)


@pytest.mark.parametrize(
    ("arguments", "shape", "skip"),
    [
        ((4, None, 1), (2, 4, 9, 9), nn.Identity),
        ((4, 6, 1), (2, 6, 9, 9), ConvBnAct),
        ((4, 4, 2), (2, 4, 5, 5), ConvBnAct),
    ],
)
def test_residual_block_projects_where_shapes_change(
    arguments: tuple[int, int | None, int], shape: tuple[int, ...], skip: type[nn.Module]
) -> None:
    block = ResidualBlock(*arguments)
    assert block(torch.zeros(2, 4, 9, 9)).shape == shape
    assert isinstance(block.skip, skip)


def test_residual_block_adds_its_input() -> None:
    block = ResidualBlock(2, act=None).eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(block(x), x)


def test_identity_returns_the_value_itself() -> None:
    x = torch.zeros(1)
    assert identity(x) is x
