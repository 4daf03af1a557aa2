from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer_core.cli import main

Capture = pytest.CaptureFixture[str]

USAGE = "trainer config explain: error: "
MISSING = "error: there is no value '%s' and no parameter of that name"

BASE = """\
params: {width: 64, lr: 1e-2}
optimizer: {_type_: torch, type: AdamW, kwargs: {lr: "${params.lr}"}}
"""
FILE = """\
defaults: [base.yaml]
params: {width: 128}
run: {name: first, out_dir: "runs/${run.name}"}
loss: {_type_: torch}
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    Path("exp.yaml").write_text(FILE)


def explain(capsys: Capture, *words: str) -> str:
    assert main(["config", "explain", "exp.yaml", *words]) == 0
    return capsys.readouterr().out


def test_value_tells_what_it_replaced_layer_by_layer(capsys: Capture) -> None:
    assert explain(capsys, "params.width", "params.width=256") == (
        "params.width: 256\n"
        "  set at <cli>:1:14\n"
        "    params.width=256\n"
        "  replaces 128 from exp.yaml:2:17\n"
        "  replaces 64 from base.yaml:1:17, included from exp.yaml:1:12\n"
    )


def test_value_tells_the_reference_and_the_parameter(capsys: Capture) -> None:
    assert explain(capsys, "optimizer.kwargs.lr") == (
        "optimizer.kwargs.lr: 0.01\n"
        "  set at base.yaml:2:54, included from exp.yaml:1:12\n"
        '    optimizer: {_type_: torch, type: AdamW, kwargs: {lr: "${params.lr}"}}\n'
        "  through ${params.lr} at base.yaml:2:54, included from exp.yaml:1:12\n"
        "  defined at base.yaml:1:25, included from exp.yaml:1:12\n"
        "    params: {width: 64, lr: 1e-2}\n"
        "  a parameter of optim_cls.AdamW (trainer-core 0.1.0): float | Tensor, default 0.001\n"
    )


def test_value_names_its_users(capsys: Capture) -> None:
    lines = explain(capsys, "run.name").splitlines()
    assert lines[3:5] == ["  referenced once", "    by run.out_dir at exp.yaml:3:29"]


def test_unset_parameter_tells_its_default_and_wheel(capsys: Capture) -> None:
    assert explain(capsys, "optimizer.kwargs.amsgrad").splitlines()[:2] == [
        "optimizer.kwargs.amsgrad is not set",
        "  its value is false, the default of optim_cls.AdamW (trainer-core 0.1.0)",
    ]


def test_unset_engine_key_tells_its_meaning(capsys: Capture) -> None:
    assert explain(capsys, "run.seed") == (
        "run.seed is not set\n"
        "  its value is 0, the default of run (trainer-core 0.1.0)\n"
        "  a parameter of run (trainer-core 0.1.0): int\n"
        "    Seeds the weights, the sample order and all noise.\n"
    )


def test_required_parameter_that_is_missing_says_so(capsys: Capture) -> None:
    lines = explain(capsys, "loss.fn").splitlines()
    assert lines[0] == "loss.fn is not set"
    assert lines[1].endswith(", required")


def test_json_has_the_places_as_fields(capsys: Capture) -> None:
    document: dict[str, Any] = json.loads(explain(capsys, "params.width", "--json"))
    assert document["value"] == 128
    assert document["replaced"] == [
        {
            "value": 64,
            "file": "base.yaml",
            "line": 1,
            "column": 17,
            "included_from": ["exp.yaml:1:12"],
        }
    ]
    assert (document["referenced"], document["referenced_by"]) == (0, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run.devize"], f"{MISSING % 'run.devize'}; did you mean 'run.device'?"),
        (["a..b"], "error: 'a..b' is not a dotted path: a key is missing at column 3"),
        ([], f"{USAGE}KEY is missing: a dotted key, such as optimizer.lr"),
        (["a", "b"], f"{USAGE}'b' is no override; write key=value"),
    ],
)
def test_key_that_means_nothing_is_exit_code_2(
    words: list[str], message: str, capsys: Capture
) -> None:
    assert main(["config", "explain", "exp.yaml", *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == message


def test_sources_show_defaults_that_are_not_written(capsys: Capture) -> None:
    assert main(["config", "show", "exp.yaml", "--sources"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "    # eps: 1e-08  (default of optim_cls.AdamW (trainer-core 0.1.0))" in lines
    assert "  # device: auto  (default of run (trainer-core 0.1.0))" in lines


def test_sources_as_json_hold_defaults_and_counts(capsys: Capture) -> None:
    assert main(["config", "show", "exp.yaml", "--sources", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["sources"]["run.name"]["referenced"] == 1
    assert document["defaults"]["run.seed"] == {
        "default": "0",
        "of": "run",
        "wheel": "trainer-core 0.1.0",
    }


def test_mistake_elsewhere_in_the_file_is_shown_and_exit_code_2(capsys: Capture) -> None:
    assert main(["config", "explain", "exp.yaml", "run.name", "x=${nothing}"]) == 2

    captured = capsys.readouterr()
    assert captured.out.startswith("run.name: 'first'\n")
    assert captured.err.startswith("<cli>:1:3: error: x: ${nothing} names nothing")


def test_default_of_a_plugin_that_is_switched_off_is_not_told(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_DISABLE_PLUGINS", "")  # the option sets it, for processes below
    words = ["--disable-plugin", "optim_cls.AdamW", "optimizer.kwargs.amsgrad"]
    assert main(["config", "explain", "exp.yaml", *words]) == 2
    assert "there is no value 'optimizer.kwargs.amsgrad'" in capsys.readouterr().err
