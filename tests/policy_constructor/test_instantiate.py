"""What a spec names is called with checked arguments, and failures say where they come from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from policy_constructor.build import build_model
from policy_constructor.discovery.component import ComponentRef
from policy_constructor.discovery.registry import Registry
from policy_constructor.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def model_file(tmp_path: Path, model: str) -> Path:
    file = tmp_path / "model.yaml"
    file.write_text(f"model: {model}\n", encoding="utf-8")
    return file


def message_of(source: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build_model(source, **options)
    (problem,) = caught.value.problems
    place = problem.location
    return f"{place.line}:{place.column} {problem.message}" if place else problem.message


def test_nested_specs_are_built_first() -> None:
    model = build_model(
        {"model": {"_type_": "mlp", "dims": [2, 3], "final_activation": {"_type_": "nn.Tanh"}}}
    )
    assert isinstance(model.layers, nn.Sequential)
    assert isinstance(model.layers[-1], nn.Tanh)


def test_positional_and_extra_keywords_reach_the_block() -> None:
    spec = {"_type_": "nn.Linear", "_args_": [2, 3], "_kwargs_": {"bias": False}}
    model = build_model({"model": spec})
    assert isinstance(model, nn.Linear)
    assert [name for name, _ in model.named_parameters()] == ["weight"]
    assert model.weight.shape == (3, 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "{_type_: mlp, dims: [4]}",
            "dims must list at least an input and an output width, got [4]",
        ),
        ("{_type_: mlp, dims: [4, 0]}", "dims[1] must be a positive whole number, got 0"),
        ("{_type_: mlp, dims: [4, null]}", "only the first of dims may be null, got [4, None]"),
        (
            "{_type_: transformer_encoder, d_model: 6, nhead: 4, num_layers: 1}",
            "d_model=6 must be a multiple of nhead=4",
        ),
    ],
)
def test_refused_argument_names_block_and_value(tmp_path: Path, spec: str, message: str) -> None:
    key = spec.split(",", maxsplit=1)[0].removeprefix("{_type_: ")
    found = message_of(model_file(tmp_path, spec))
    assert found == f"1:8 {key} refused its arguments: {message}"


def test_unbound_argument_is_located_without_static_check(tmp_path: Path) -> None:
    file = model_file(
        tmp_path, "{_type_: mlp, dmis: [1, 2]}\nsettings: {signature_policy: runtime}"
    )
    assert message_of(file) == "1:8 mlp: missing a required argument: 'dims'"


def test_op_that_takes_other_arguments_is_located() -> None:
    step = {"call": "op:add", "kwargs": {"a": "$x", "b": 1}, "out": "y"}
    graph = {"inputs": ["x"], "steps": [step], "outputs": ["$y"]}
    source = {"model": {"graph": graph}, "settings": {"signature_policy": "runtime"}}
    assert message_of(source).startswith("op 'add': ")


class NotAModule:
    """A class that is no torch module."""


class Scale(nn.Module):
    """Multiplies by a number."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.by


def test_decorated_block_is_built() -> None:
    blocks: Registry[Any] = Registry("block")
    blocks.register("scale")(Scale)
    model = build_model({"model": {"_type_": "scale", "by": 3.0}}, blocks=blocks)
    assert model(torch.tensor(2.0)) == 6.0


def test_block_that_is_no_module_is_refused() -> None:
    blocks: Registry[Any] = Registry("block")
    blocks.register("thing")(NotAModule)
    message = message_of({"model": {"_type_": "thing"}}, blocks=blocks)
    assert message == "thing built a NotAModule, a torch module is needed"


def test_block_that_fails_to_import_names_its_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_at_import.py").write_text("Net = 1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ref = ComponentRef("block", "broken", "fails_at_import", "Net", "some-wheel", "1.2")
    source = {"model": {"_type_": "broken"}, "settings": {"strict": False}}
    message = message_of(source, blocks=Registry("block", [ref]))
    assert "some-wheel 1.2" in message
    assert "ZeroDivisionError: division by zero" in message


def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> dict[str, Any]:
    package = tmp_path / "mine_for_targets.py"
    package.write_text("from torch.nn import Identity, ReLU as Act\nfrom os import system as run\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine_for_targets", raising=False)
    settings = {
        "allow_target": True,
        "allowed_import_prefixes": ["mine_for_targets", "torch.nn"],
        "signature_policy": "runtime",
    }
    return {"settings": settings, "model": {"_target_": name}}


def test_allowed_target_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(target(tmp_path, monkeypatch, "mine_for_targets.Act"))
    assert isinstance(model, nn.ReLU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine_for_targets.run", "'mine_for_targets.run' really is from 'posix', not"),
        ("mine_for_targets.Nothing", "cannot import 'mine_for_targets.Nothing': module"),
    ],
)
def test_target_that_only_passes_through_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    assert message_of(target(tmp_path, monkeypatch, name)).startswith(message)
