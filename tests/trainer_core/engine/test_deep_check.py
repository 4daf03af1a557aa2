"""`trainer check --deep`: components imported, models on the meta device, one batch of shapes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.cli import main
from trainer_core.engine.deep_check import deep_check
from trainer_core.experiment.loading import load_experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    FakeWheel: TypeAlias = Callable[..., Path]


def deep(config: Any, *overrides: str) -> tuple[list[str], list[str]]:
    errors, warnings = deep_check(load_experiment(config, overrides))
    return (
        [f"{problem.path}: {problem.message}" for problem in errors],
        [f"{problem.path}: {problem.message}" for problem in warnings],
    )


def test_right_experiment_passes(tiny: dict[str, Any]) -> None:
    assert deep(tiny) == ([], [])


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("data.y_shape=[5]", "data: the data does not fit the model: "),
        ("model.sequential.layers.0.out_features=9", "data: the data does not fit the model: "),
        ("model.sequential.layers.1.p=3", "model.sequential.layers.1: nn.Dropout refused"),
    ],
)
def test_what_only_building_shows_is_placed(
    override: str, start: str, tiny: dict[str, Any]
) -> None:
    errors, _ = deep(tiny, override)
    assert [error[: len(start)] for error in errors] == [start]


def install(fake_wheel: FakeWheel, name: str, kind: str, target: str, source: str) -> None:
    module = f"{name}_parts"
    groups = {f"trainer_core.{kind}": {name: f"{module}:{target}"}}
    fake_wheel(name, groups, {f"{module}.py": source})


def test_component_that_cannot_be_imported_is_named(
    tiny: dict[str, Any], fake_wheel: FakeWheel
) -> None:
    install(fake_wheel, "sunk", "losses", "Sunk", "class Sunk: ...\nraise OSError(28)\n")
    errors, _ = deep(tiny | {"loss": {"_type_": "sunk"}})
    assert errors[0].startswith("loss._type_: loss 'sunk' of sunk 1.0 cannot be used: OSError")


CHANGED = """\
class Changed:
    def __init__(self, weight: float = 1.0) -> None: ...
    def build(self): ...
def _other(self, size: int) -> None: ...
Changed.__init__ = _other
"""


def test_signature_that_is_not_that_of_the_source_is_told(
    tiny: dict[str, Any], fake_wheel: FakeWheel
) -> None:
    install(fake_wheel, "changed", "losses", "Changed", CHANGED)
    errors, warnings = deep(tiny | {"loss": {"_type_": "changed", "weight": 1.0}})
    assert errors == [
        "loss.weight: loss.changed has no parameter 'weight'",
        "loss: loss.changed needs 'size'",
    ]
    assert warnings == [
        "loss: loss.changed is not what its source says: it takes (size), its source says (weight)"
    ]


COUNTING = """\
import torch
class Counting(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.count = int(torch.ones(3).sum().item())
    def forward(self, x): return x
"""


def test_model_that_needs_numbers_is_a_warning(tiny: dict[str, Any], fake_wheel: FakeWheel) -> None:
    groups = {"policy_constructor.blocks": {"counting": "counting_parts:Counting"}}
    fake_wheel("counting", groups, {"counting_parts.py": COUNTING})
    errors, warnings = deep(tiny, "+model.sequential.layers=[{_type_: counting}]")
    assert errors == []
    assert warnings[0].startswith("model: cannot be tried on the meta device")


def test_data_set_that_cannot_describe_itself_is_a_warning(
    tiny: dict[str, Any], acme: None
) -> None:
    _, warnings = deep(tiny | {"data": {"_type_": "empty", "batch_size": 4}})
    assert warnings == ["data: no batch went through the model: data.empty has no 'describe_batch'"]


def test_command_reports_in_the_same_form(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "exp.yaml"
    file.write_text(json.dumps(tiny | {"run": {"name": "a", "out_dir": "unset"}}, indent=1))
    assert main(["check", str(file), "--deep", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "errors": [], "warnings": []}
    assert main(["check", str(file), "--deep", "--json", "data.y_shape=[5]"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert [(error["code"], error["path"]) for error in report["errors"]] == [("deep", "data")]
    assert not (tmp_path / "unset").exists()
