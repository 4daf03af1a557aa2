from __future__ import annotations

from pathlib import Path

import pytest

from trainer_core import load_experiment

MODEL = """\
params: {width: 8, inputs: null}
model: {_type_: nn.Linear, in_features: "${params.inputs}", out_features: "${params.width}"}
"""
MODELS = """\
models:
  net: {config: model.yaml, params: {width: "${params.width}", inputs: 8}}
"""


@pytest.fixture
def with_model_file(experiment_file: Path) -> Path:
    """The right experiment, its model in a file of its own."""
    Path("model.yaml").write_text(MODEL)
    before, _, rest = experiment_file.read_text().partition("model:\n")
    experiment_file.write_text(
        before + MODELS + rest[rest.index("data:") :].replace("{x:", "{input:")
    )
    return experiment_file


def found(file: Path, *overrides: str) -> list[str]:
    problems = load_experiment(file, overrides, strict=False).problems
    return [f"{problem.location} {problem.path}: {problem.message}" for problem in problems]


def test_open_parameter_is_filled_by_the_experiment(with_model_file: Path) -> None:
    assert found(with_model_file) == []


def test_model_file_must_be_right_by_itself(with_model_file: Path) -> None:
    Path("model.yaml").write_text(MODEL.replace("width: 8", "width: wide"))
    message = "model.yaml:1:17 params.width: expected an integer, found 'wide'"
    assert found(with_model_file) == [message]


def test_parameter_is_reported_where_the_experiment_defines_it(with_model_file: Path) -> None:
    message = "<cli>:1:14 params.width: expected an integer, found 'wide'"
    assert found(with_model_file, "params.width=wide") == [message]


def test_misspelt_parameter_of_the_model_file_is_found_there(with_model_file: Path) -> None:
    Path("model.yaml").write_text(MODEL.replace("width: 8", "widht: 8"))
    assert found(with_model_file) == [
        (
            "model.yaml:2:76 model.out_features: "
            "${params.width} names nothing: 'params' has no key 'width'"
        )
    ]


def test_impossible_name_of_a_model_file_is_missing(with_model_file: Path) -> None:
    name = "a" * 300
    message = f"<cli>:1:19 models.net.config: there is no model file '{name}'"
    assert found(with_model_file, f"models.net.config={name}") == [message]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ema", "'ema' is a callback, not a block"),
        ("loss.torch", "'loss.torch' is a loss, not a block"),
        ("nn.Lienar", "unknown block 'nn.Lienar'"),
    ],
)
def test_block_of_another_kind_is_said_so(name: str, message: str, with_model_file: Path) -> None:
    Path("model.yaml").write_text(MODEL.replace("nn.Linear", name))
    assert found(with_model_file) == [f"model.yaml:2:17 model._type_: {message}"]


def test_block_of_a_wheel_that_is_not_used_names_it(
    with_model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_DISABLE_PLUGINS", "experiments-il")
    Path("model.yaml").write_text(MODEL.replace("nn.Linear", "state_encoder"))
    (message,) = found(with_model_file)
    assert "state_encoder" in message
    assert "switched off" in message
