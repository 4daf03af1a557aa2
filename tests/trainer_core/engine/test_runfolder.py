from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer_core.engine.runfolder import (
    RunFolder,
    describe_plugins,
    public_config,
    resolved_yaml,
)
from trainer_core.experiment.loading import load_experiment

if TYPE_CHECKING:
    import pytest


def test_resolved_file_runs_again(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(
        "schema_version: 1\nparams: {width: 8}\nmodel:\n  sequential:\n    layers:\n"
        '      - {_type_: mlp, dims: [3, "${params.width}", 2]}\n'
    )
    del tiny["model"]
    tiny["models"] = {"net": {"config": str(tmp_path / "net.yaml"), "params": {"width": 5}}}
    text = resolved_yaml(load_experiment(tiny))
    (tmp_path / "again.yaml").write_text(text)
    (tmp_path / "net.yaml").unlink()
    again = load_experiment(tmp_path / "again.yaml")
    assert again.models["net"].graph.modules[0].name
    assert "dims: [3, 5, 2]" in text


def test_secrets_of_the_environment_stay_out(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "hidden")
    tiny["run"]["name"] = "${env:MY_TOKEN}"
    text = resolved_yaml(load_experiment(tiny))
    assert "hidden" not in text
    assert "${env:MY_TOKEN}" in text


def test_plugins_in_use_name_their_wheels(tiny: dict[str, Any]) -> None:
    described = describe_plugins(load_experiment(tiny))
    found = {(row["kind"], row["key"]): row["dist"] for row in described["plugins"]}
    assert found["data", "random_regression"] == "trainer-core"
    assert found["block", "nn.Linear"] == "policy-constructor"
    assert set(described["distributions"]) == {"trainer-core", "policy-constructor"}


def test_summary_is_strict_json(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_summary({"loss": float("nan"), "n": np.int64(3), "ci95": (0.1, float("inf"))})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == {"loss": None, "n": 3, "ci95": [0.1, None]}


def test_evaluation_counts_once_it_has_a_result(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_evaluation(5) is None
    folder.write_evaluation(5, {"n": 2})
    assert folder.read_evaluation(5) == {"n": 2}


def test_earlier_runs_are_set_aside_one_by_one(tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "metrics.jsonl").write_text("")
        (tmp_path / "notes.txt").write_text("the user's own")
        RunFolder(tmp_path).open(None, kept_step=None)
    assert sorted(path.name for path in (tmp_path / "previous").iterdir()) == ["001", "002"]
    assert Path(tmp_path / "notes.txt").is_file()


def test_loggers_do_not_see_values_of_the_environment(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIDDEN_LR", "0.0125")
    tiny["params"] = {"lr": "${env:float:HIDDEN_LR}", "name": "plain"}
    tiny["optimizer"]["kwargs"]["lr"] = "${params.lr}"
    config = public_config(load_experiment(tiny))
    assert "0.0125" not in json.dumps(config)
    assert config["params"] == {"lr": "${env:float:HIDDEN_LR}", "name": "plain"}
    assert config["loggers"] == [{"_type_": "jsonl"}]
