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
