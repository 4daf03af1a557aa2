"""Exact text of a mistake that came a long way: through includes, references and overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policy_constructor.errors import render_problem
from trainer_core import load_experiment

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "base.yaml": """\
schema_version: 1
params:
  width: 8
run: {name: a, out_dir: runs/a}
model: {config: models/net.yaml, params: {size: "${params.width}"}}
data: {_type_: random_regression, x_shape: [8], y_shape: [1], batch_size: 4}
io: {_type_: mapping, model_kwargs: {input: [x]}, targets: {y: [y]}}
loss: {_type_: torch, fn: {_type_: nn.MSELoss}}
optimizer: {_type_: optim_cls.AdamW}
trainer: {_type_: default, max_steps: 10}
""",
    "models/net.yaml": """\
params: {size: null}
model: {_type_: nn.Linear, in_features: "${params.size}", out_features: 1}
""",
    "middle.yaml": "defaults: [base.yaml]\n",
    "top.yaml": "defaults: [middle.yaml]\nparams: {width: wide}\n",
    "steps.yaml": """\
defaults: [base.yaml]
params: {steps: many}
trainer: {max_steps: "${params.steps}"}
""",
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of files in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)


def shown(config: str, *overrides: str) -> str:
    problems = load_experiment(config, overrides, strict=False).problems
    return "\n".join(map(render_problem, problems))


@pytest.mark.usefixtures("files")
def test_value_of_the_outermost_file_goes_through_a_model_file() -> None:
    assert shown("top.yaml") == (
        "top.yaml:2:17: error: params.width: expected an integer, found 'wide'\n"
        "  2 | params: {width: wide}\n"
        "    |                 ^^^^\n"
        "    = used by model.params.size at base.yaml:5:49 and 1 more\n"
        "    = replaces 8 from base.yaml:3:10"
    )


@pytest.mark.usefixtures("files")
def test_override_of_a_parameter_names_what_it_replaced_and_who_uses_it() -> None:
    assert shown("middle.yaml", "params.width=wide") == (
        "<cli>:1:14: error: params.width: expected an integer, found 'wide'\n"
        "  1 | params.width=wide\n"
        "    |              ^^^^\n"
        "    = used by model.params.size at base.yaml:5:49 and 1 more\n"
        "    = replaces 8 from base.yaml:3:10"
    )


@pytest.mark.usefixtures("files")
def test_override_mends_a_file_that_is_wrong_below() -> None:
    assert shown("top.yaml", "params.width=8") == ""


@pytest.mark.usefixtures("files")
def test_mistake_of_an_included_file_names_who_includes_it(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(base.read_text().replace("width: 8", "width: wide"))
    assert shown("middle.yaml") == (
        "base.yaml:3:10: error: params.width: expected an integer, found 'wide'\n"
        "  3 |   width: wide\n"
        "    |          ^^^^\n"
        "    = used by model.params.size at base.yaml:5:49 and 1 more\n"
        "    = included from middle.yaml:1:12"
    )


@pytest.mark.usefixtures("files")
def test_key_of_the_engine_through_a_reference() -> None:
    assert shown("steps.yaml") == (
        "steps.yaml:2:17: error: params.steps: expected an integer, found 'many'\n"
        "  2 | params: {steps: many}\n"
        "    |                 ^^^^\n"
        "    = used by trainer.max_steps at steps.yaml:3:22"
    )


@pytest.mark.usefixtures("files")
def test_override_into_a_model_file_says_what_can_be_changed() -> None:
    assert shown("base.yaml", "model.layers.0.width=3") == (
        "<cli>:1:14: error: model.layers.0.width: there is no list at 'model.layers'\n"
        "  1 | model.layers.0.width=3\n"
        "    |              ^\n"
        "    = model is in the file models/net.yaml; an experiment changes its params: "
        "model.params.NAME=VALUE"
    )


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer=default", "{_type_: default, ...}"),
        ("callbacks=ema", "- {_type_: ema}"),
        ("callbacks=[ema]", "{_type_: ema}"),
        ("model=models/net.yaml", "{config: models/net.yaml}"),
        ("run=a", ""),
    ],
)
def test_name_that_stands_alone_is_shown_as_a_mapping(override: str, expected: str) -> None:
    problems = load_experiment("base.yaml", [override], strict=False).problems
    assert problems[0].expected == expected
    assert problems[0].code == "wrong-type"


def test_dotted_key_in_a_file_is_explained(files: None, tmp_path: Path) -> None:
    del files
    (tmp_path / "dotted.yaml").write_text("defaults: [base.yaml]\nrun.name: b\n")
    assert shown("dotted.yaml") == (
        "dotted.yaml:2:1: error: run.name: unknown key 'run.name'\n"
        "  2 | run.name: b\n"
        "    | ^^^^^^^^\n"
        "    = expected run: {name: ...}; only the command line takes keys with dots"
    )


def test_file_that_includes_itself_has_no_other_mistake(files: None, tmp_path: Path) -> None:
    del files
    (tmp_path / "self.yaml").write_text("defaults: [self.yaml]\n")
    assert shown("self.yaml") == (
        "self.yaml:1:12: error: defaults.0: the files include each other: self.yaml -> self.yaml\n"
        "  1 | defaults: [self.yaml]\n"
        "    |            ^^^^^^^^^"
    )


@pytest.mark.usefixtures("files")
def test_number_beyond_all_floats_is_a_mistake() -> None:
    assert shown("base.yaml", "optimizer.lr=1e999") == (
        "<cli>:1:14: error: the number is too large; write .inf for infinity\n"
        "  1 | optimizer.lr=1e999\n"
        "    |              ^^^^^"
    )
