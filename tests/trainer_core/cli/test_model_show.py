from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer_core.cli import main

Capture = pytest.CaptureFixture[str]

GRAPH = """\
model:
  graph:
    inputs: {x: [null, 8], z: [null, 4]}
    modules:
      a: {_type_: nn.LazyLinear, out_features: 4}
      say "hi": {_type_: nn.ReLU}
    nodes:
      - {name: h, call: "module:a", args: [$x]}
      - {name: s, call: "op:add", args: [$h, $z]}
    outputs: {sum: $s, first: $h}
"""


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = Path("model.yaml")
    file.write_text(GRAPH.replace('      say "hi": {_type_: nn.ReLU}\n', ""))
    return file


def test_model_file_is_shown_with_its_sizes(model_file: Path, capsys: Capture) -> None:
    assert main(["model", "show", str(model_file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model: 36 parameters",
        "  takes    x [?, 8], z [?, 4]",
        "  returns  sum, first",
        "",
        "  module  type           parameters  shapes",
        "  a       nn.LazyLinear  36          weight [4, 8], bias [4]",
        "",
        "  h = a(x)",
        "  s = op:add(h, z)",
    ]


def test_graph_is_drawn_for_mermaid(model_file: Path, capsys: Capture) -> None:
    assert main(["model", "show", str(model_file), "--mermaid"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "flowchart TD",
        '  in0(["x"])',
        '  in1(["z"])',
        '  call0["a"]',
        '  in0 -->|"x"| call0',
        '  call1["op:add"]',
        '  call0 -->|"h"| call1',
        '  in1 -->|"z"| call1',
        '  out0(["sum"])',
        "  call1 --> out0",
        '  out1(["first"])',
        "  call0 --> out1",
    ]


def test_unknown_size_is_said(model_file: Path, capsys: Capture) -> None:
    model_file.write_text(model_file.read_text().replace("{x: [null, 8], z: [null, 4]}", "[x, z]"))
    assert main(["model", "show", str(model_file), "--json"]) == 0
    component = json.loads(capsys.readouterr().out)["components"][0]
    assert component["parameters"] is None
    assert component["modules"][0]["shapes"] == {"weight": None, "bias": None}


def test_components_of_an_experiment_are_shown(experiment_file: Path, capsys: Capture) -> None:
    assert main(["model", "show", str(experiment_file)]) == 0
    assert "  layer0  nn.Linear  576         weight [64, 8], bias [64]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GRAPH.replace("nn.LazyLinear", "nn.LazyLinaer"), "did you mean 'nn.LazyLinear'"),
        ("modle: {_type_: mlp}\n", "did you mean 'model'"),
        ("model: {_type_: nn.Linear, in_features: -3, out_features: 1}\n", "refused"),
        ("run: {}\n", "the file needs 'model'"),
    ],
)
def test_file_with_mistakes_is_exit_code_2(
    text: str, message: str, model_file: Path, capsys: Capture
) -> None:
    model_file.write_text(text)
    assert main(["model", "show", str(model_file)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
