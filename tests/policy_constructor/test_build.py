"""From a file to a module in one call: overrides, lazy sizes, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from policy_constructor.build import build_model, from_ir
from policy_constructor.config import resolve_config
from policy_constructor.errors import ConfigError
from policy_constructor.graph.compiler import compile_graph
from policy_constructor.lazy import lazy_modules, require_materialized

if TYPE_CHECKING:
    from pathlib import Path


def lazy_graph(inputs: Any) -> dict[str, Any]:
    """Return a graph that concatenates two inputs and leaves the first width open."""
    return {
        "model": {
            "graph": {
                "inputs": inputs,
                "modules": {
                    "net": {"_type_": "mlp", "dims": [None, 8, 2], "dropout": 0.5, "norm": "batch"}
                },
                "steps": [
                    {"call": "op:cat", "args": [["$a", "$b"]], "kwargs": {"dim": -1}, "out": "ab"},
                    {"call": "module:net", "args": ["$ab"], "out": "y"},
                ],
                "outputs": ["$y"],
            }
        }
    }


def first_width(model: nn.Module) -> int:
    return model.get_parameter("net.layers.0.weight").shape[1]


def test_file_overrides_and_parameters_reach_the_model(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(
        "schema_version: 1\n"
        "params: {width: 8}\n"
        "model:\n"
        "  sequential:\n"
        "    layers: [{_type_: mlp, dims: [3, '${params.width}']}]\n"
    )
    model = build_model(file, ["params.width=5"])
    assert model(torch.zeros(2, 3)).shape == (2, 5)


def test_resolved_configuration_takes_no_overrides() -> None:
    resolved = resolve_config({"model": {"_type_": "mlp", "dims": [1, 2]}})
    assert build_model(resolved)(torch.zeros(1, 1)).shape == (1, 2)
    with pytest.raises(ValueError, match="overrides belong to resolve_config"):
        build_model(resolved, ["model.dims=[1, 3]"])


def test_language_and_model_mistakes_come_together(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text("params: {a: '${b.c}'}\nmodel: {_type_: mlpp}\n")
    with pytest.raises(ConfigError) as caught:
        build_model(file)
    assert [problem.path for problem in caught.value.problems] == ["params.a", "model._type_"]


@pytest.mark.parametrize(
    "sample",
    [
        (torch.zeros(2, 3), torch.zeros(2, 4)),
        [torch.zeros(2, 3), torch.zeros(2, 4)],
        {"b": torch.zeros(2, 4), "a": torch.zeros(2, 3)},
    ],
    ids=["tuple", "list", "mapping"],
)
def test_sample_gives_lazy_modules_their_sizes(sample: Any) -> None:
    model = build_model(lazy_graph(["a", "b"]), sample=sample)
    assert first_width(model) == 7
    assert model.training


def test_tensor_is_the_sample_of_one_input() -> None:
    layers = [{"_type_": "conv_bn_act", "in_channels": None, "out_channels": 4}]
    model = build_model(
        {"model": {"sequential": {"layers": layers}}}, sample=torch.zeros(1, 3, 8, 8)
    )
    assert model.get_parameter("layer0.conv.weight").shape == (4, 3, 3, 3)


def test_sample_leaves_batch_statistics_alone() -> None:
    model = build_model(lazy_graph(["a", "b"]), sample=(torch.ones(2, 3), torch.ones(2, 4)))
    assert model.get_buffer("net.layers.1.running_mean").count_nonzero() == 0


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": [None, 3], "b": [None, 4]},
        {"a": ["B", 3], "b": ["B", 4]},
        {"a": ["B", 3], "b": {"shape": ["B", 4], "dtype": "float32"}},
    ],
)
def test_declared_shapes_give_lazy_modules_their_sizes(inputs: Any) -> None:
    model = build_model(lazy_graph(inputs))
    assert lazy_modules(model) == {}
    assert first_width(model) == 7
    assert model(torch.zeros(2, 3), torch.zeros(2, 4)).shape == (2, 2)


def test_declared_shapes_and_sample_give_the_same_weights() -> None:
    torch.manual_seed(0)
    first = build_model(lazy_graph({"a": [None, 3], "b": [None, 4]}))
    torch.manual_seed(0)
    second = build_model(lazy_graph(["a", "b"]), sample=(torch.zeros(2, 3), torch.zeros(2, 4)))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_without_sizes_a_model_waits_for_its_first_call() -> None:
    model = build_model(lazy_graph(["a", "b"]))
    with pytest.raises(ConfigError) as caught:
        require_materialized(model, "models.net")
    (problem,) = caught.value.problems
    assert problem.message == "models.net has parameters without a size yet: net.layers.0"
    assert problem.expected.startswith("declared input shapes (inputs: {x: [null, 39]})")
    model(torch.zeros(2, 3), torch.zeros(2, 4))
    require_materialized(model)


@pytest.mark.parametrize(
    ("inputs", "sample", "start"),
    [
        (["a", "b"], (torch.zeros(2, 3), torch.zeros(5, 4)), "the sample does not fit the model: "),
        ({"a": [None, 3], "b": [7, 4]}, None, "shape inference from the declared inputs does not"),
    ],
)
def test_shapes_that_do_not_fit_are_located(inputs: Any, sample: Any, start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(lazy_graph(inputs), sample=sample)
    assert caught.value.problems[0].message.startswith(start)


def test_meta_device_builds_without_memory() -> None:
    model = build_model({"model": {"_type_": "nn.Linear", "_args_": [10**6, 10**6]}}, device="meta")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_graph_can_be_built_many_times() -> None:
    ir = compile_graph({"model": {"_type_": "mlp", "dims": [2, 3]}})
    first, second = from_ir(ir), from_ir(ir, device="cpu")
    assert first is not second
    assert list(first.state_dict()) == list(second.state_dict())
