from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer_core.cli import main

Capture = pytest.CaptureFixture[str]

GRAPH = """\
model:
  graph:
    inputs: [x, z]
    modules: {a: {_type_: nn.Linear, in_features: 8, out_features: 1}}
    nodes:
      - {name: h, call: "module:a", args: [$x]}
      - {name: w, call: "op:add", args: [$h, $h]}
    outputs: [$h]
"""
MESSAGES = ["input 'z' is never used", "nothing uses node 'w'"]


@pytest.fixture(params=["in the experiment", "in a model file"])
def idle_graph(experiment_file: Path, request: pytest.FixtureRequest) -> Path:
    """The right experiment with a graph that has an idle input and an idle node."""
    before, _, rest = experiment_file.read_text().partition("model:\n")
    rest = rest[rest.index("data:") :].replace("{x: [x]}", "{x: [x], z: [x]}")
    Path("model.yaml").write_text(GRAPH)
    model = GRAPH if request.param == "in the experiment" else "model: {config: model.yaml}\n"
    experiment_file.write_text(before + model + rest)
    return experiment_file


def test_idle_parts_of_a_graph_are_warnings(idle_graph: Path, capsys: Capture) -> None:
    assert main(["check", str(idle_graph)]) == 0
    output = capsys.readouterr()
    assert "ok" in output.out
    shown = [line for line in output.err.splitlines() if " warning: " in line]
    assert [line.rpartition(": ")[2] for line in shown] == MESSAGES


def test_warnings_are_in_the_json_document(idle_graph: Path, capsys: Capture) -> None:
    assert main(["check", str(idle_graph), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"]
    assert [warning["message"] for warning in document["warnings"]] == MESSAGES
