"""`config explain` and `config show` look inside the model files that an experiment names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

Capture = pytest.CaptureFixture[str]

MODEL = """\
params: {width: 8, depth: 1}
model: {_type_: mlp, dims: ["${params.width}", 2], activation: relu}
"""
FILE = """\
params: {size: 16}
models:
  head: {config: parts/head.yaml, params: {width: "${params.size}"}}
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("parts").mkdir()
    Path("parts/head.yaml").write_text(MODEL)
    Path("exp.yaml").write_text(FILE)


def explain(capsys: Capture, key: str, *words: str) -> str:
    assert main(["config", "explain", "exp.yaml", key, *words]) == 0
    return capsys.readouterr().out


def test_value_of_a_model_file_leads_back_to_the_experiment(capsys: Capture) -> None:
    assert explain(capsys, "models.head.config.model.dims.0", "params.size=32").splitlines() == [
        "models.head.config.model.dims.0: 32",
        "  set at parts/head.yaml:2:29, included from exp.yaml:3:18",
        '    model: {_type_: mlp, dims: ["${params.width}", 2], activation: relu}',
        "  through ${params.width} at parts/head.yaml:2:29, included from exp.yaml:3:18",
        "  through ${params.size} of models.head.params.width at exp.yaml:3:51",
        "  defined at <cli>:1:13",
        "    params.size=32",
        "  replaces 16 from exp.yaml:1:16",
    ]


def test_parameter_of_a_model_file_tells_which_default_it_replaced(capsys: Capture) -> None:
    lines = explain(capsys, "models.head.config.params.width").splitlines()
    assert lines[0] == "models.head.config.params.width: 16"
    assert "  replaces 8 from parts/head.yaml:1:17, included from exp.yaml:3:18" in lines


def test_unset_parameter_of_a_block_tells_its_default(capsys: Capture) -> None:
    lines = explain(capsys, "models.head.config.model.dropout").splitlines()
    assert lines[1].endswith("the default of block.mlp (policy-constructor 0.1.0)")


def test_misspelt_key_of_a_model_file_is_answered_with_the_nearest(capsys: Capture) -> None:
    assert main(["config", "explain", "exp.yaml", "models.head.config.model.dimz"]) == 2
    assert "; did you mean 'models.head.config.model.dims'?" in capsys.readouterr().err


def test_value_that_a_reference_replaced_is_told(capsys: Capture) -> None:
    Path("base.yaml").write_text("lr: 1\n")
    Path("exp.yaml").write_text("defaults: [base.yaml]\nparams: {lr: 2}\nlr: ${params.lr}\n")
    lines = explain(capsys, "lr").splitlines()
    assert "  replaces 1 from base.yaml:1:5, included from exp.yaml:1:12" in lines


def test_sources_show_the_model_files_as_comments(capsys: Capture) -> None:
    assert main(["config", "show", "exp.yaml", "--sources"]) == 0
    text = capsys.readouterr().out
    assert "\n# models.head.config is:\n#   params:\n" in text
    assert "#     depth: 1  # parts/head.yaml:1:27\n" in text
    assert main(["config", "show", "exp.yaml", "--sources", "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["sources"]["models.head.config.params.depth"]["line"] == 1


def test_shown_file_means_the_same_from_another_folder(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["config", "show", "exp.yaml"]) == 0
    shown = capsys.readouterr().out
    assert f"config: {tmp_path}/parts/head.yaml\n" in shown
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("flat.yaml").write_text(shown)
    assert main(["config", "explain", "flat.yaml", "models.head.config.model.dims.0"]) == 0
    assert capsys.readouterr().out.startswith("models.head.config.model.dims.0: 16\n")


def test_model_file_of_a_recipe_is_shown_by_its_name_there(
    fake_wheel: Callable[..., Path], capsys: Capture
) -> None:
    site = fake_wheel("acme", {"trainer_core.recipes": {"acme": "acme_recipes"}})
    (site / "acme_recipes" / "parts").mkdir(parents=True)
    (site / "acme_recipes" / "__init__.py").write_text("")
    (site / "acme_recipes" / "parts" / "head.yaml").write_text(MODEL)
    (site / "acme_recipes" / "exp.yaml").write_text(FILE)
    assert main(["config", "show", "acme/exp"]) == 0
    shown = capsys.readouterr().out
    assert "config: acme/parts/head.yaml\n" in shown
    Path("flat.yaml").write_text(shown)
    assert main(["config", "explain", "flat.yaml", "models.head.config.params.width"]) == 0
