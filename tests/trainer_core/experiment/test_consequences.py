"""One mistake is one message: what only follows from it is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trainer_core.experiment.loading import load_experiment

if TYPE_CHECKING:
    from pathlib import Path

BASE = """\
schema_version: 1
params: {width: 8}
run: {name: first, out_dir: "runs/${run.name}"}
models:
  net: {_type_: mlp, dims: [3, "${params.width}", 2]}
data: {_type_: random_regression, x_shape: [3], y_shape: [2], batch_size: 4}
io: {_type_: mapping, model_kwargs: {x: [x]}, targets: {y: [y]}}
loss: {_type_: torch, fn: {_type_: nn.MSELoss}}
optimizer: {_type_: torch, type: AdamW}
trainer: {_type_: default, max_steps: 4}
"""
PART = """\
defaults: [base.yaml]
run: {name: second}
models:
  net: {dims: [3, 4, 2]}
trainer: {max_steps: 5}
"""


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("trianer:", "trainer:", "unknown key 'trianer'"),
        ("defalts:", "defaults:", "unknown key 'defalts'"),
        ("[bse.yaml]", "[base.yaml]", "there is no file or recipe 'bse.yaml'"),
        ("run: {name: [a]}", "run: {name: second}", "expected a string, found a list"),
    ],
)
def test_what_follows_from_a_mistake_is_not_told(
    tmp_path: Path, wrong: str, right: str, message: str
) -> None:
    (tmp_path / "base.yaml").write_text(BASE.replace("trainer:", "# trainer:"))
    file = tmp_path / "part.yaml"
    file.write_text(
        PART.replace("{max_steps: 5}", "{_type_: default, max_steps: 5}").replace(right, wrong)
    )
    problems = load_experiment(file, strict=False).problems
    assert [problem.message for problem in problems] == [message]


def test_keys_of_a_component_whose_type_is_misspelt_are_not_told(tmp_path: Path) -> None:
    file = tmp_path / "cfg.yaml"
    file.write_text(BASE.replace("net: {_type_", "net: {_tpye_"))
    problems = load_experiment(file, strict=False).problems
    assert [problem.message for problem in problems] == ["unknown key '_tpye_'"]


def test_two_mistakes_of_their_own_are_both_told(tmp_path: Path) -> None:
    file = tmp_path / "cfg.yaml"
    file.write_text(BASE.replace("dims", "dms").replace("max_steps", "max_stps"))
    problems = load_experiment(file, strict=False).problems
    assert [problem.code for problem in problems if "dms" in problem.message] == ["unknown-key"]
    assert [problem.code for problem in problems if "max_stps" in problem.message] == [
        "unknown-key"
    ]


@pytest.mark.parametrize("key", ["_base_", "base", "extends", "include"])
def test_what_other_tools_call_defaults_is_told_so(tmp_path: Path, key: str) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    file = tmp_path / "part.yaml"
    file.write_text(f"{key}: base.yaml\nrun: {{name: second}}\n")
    (problem,) = load_experiment(file, strict=False).problems
    assert (problem.message, problem.suggestions) == (f"unknown key {key!r}", ("defaults",))
    assert problem.expected == "defaults: [base.yaml]"


def test_unknown_component_leaves_nothing_over_from_the_one_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    file = tmp_path / "part.yaml"
    file.write_text("defaults: [base.yaml]\nloss: {_type_: tocrh}\n")
    (problem,) = load_experiment(file, strict=False).problems
    assert (problem.path, problem.suggestions[0]) == ("loss._type_", "torch")


def test_components_within_an_unknown_one_are_not_looked_up(tmp_path: Path) -> None:
    file = tmp_path / "cfg.yaml"
    file.write_text(BASE.replace("_type_: torch, fn", "_type_: tocrh, fn").replace("MSEL", "MESL"))
    (problem,) = load_experiment(file, strict=False).problems
    assert problem.path == "loss._type_"


def test_component_laid_over_another_is_told_how_to_replace_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    file = tmp_path / "part.yaml"
    file.write_text("defaults: [base.yaml]\nloss: {second: {_type_: nn.L1Loss}}\n")
    (problem,) = load_experiment(file, strict=False).problems
    assert problem.path == "loss.second"
    where = f"{tmp_path}/base.yaml:8:16"
    assert problem.notes == (
        f"it is laid over loss.torch at {where}; `_merge_: replace` beside it replaces that",
    )
