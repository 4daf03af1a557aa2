"""What a model and a trainer take from a batch against what the data set says it gives."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from policy_constructor.errors import render_problem
from trainer_core import load_experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULE = """\
class Sine:
    batch_keys = "sine_batches:{function}"
    def __init__(self, length: int = 8, channels: dict[str, int] | None = None): ...
    def build(self, opt_params, params): ...
"""
DESCRIPTIONS = """\
def describe(parameters, report):
    for name in parameters["channels"] or ():
        report(("channels", name), f"there is no channel {name!r}", ("left",))
    return {"x": (parameters["length"],), "y": None}

def failing(parameters, report):
    raise ValueError("no luck")

def unknown(parameters, report):
    return None
"""
SINE = "data={_merge_: replace, _value_: {_type_: sine, batch_size: 4%s}}"


@pytest.fixture(params=["describe"])
def sine(fake_wheel: Callable[..., Path], request: pytest.FixtureRequest) -> None:
    """A wheel with a data set that describes its batches by a function."""
    sys.modules.pop("sine_batches", None)
    modules = {
        "sine.py": MODULE.format(function=request.param),
        "sine_batches.py": DESCRIPTIONS,
    }
    fake_wheel("sine", {"trainer_core.datasets": {"sine": "sine:Sine"}}, modules)


def problems_of(file: Path, *overrides: str) -> list[str]:
    found = load_experiment(file, overrides, strict=False).problems
    return [f"{problem.path}: {problem.message}" for problem in found]


@pytest.mark.usefixtures("sine")
def test_function_of_a_data_set_knows_its_keys(experiment_file: Path) -> None:
    assert problems_of(experiment_file, SINE % "") == []
    assert problems_of(experiment_file, SINE % "", "io.targets.y=[yy]") == [
        "io.targets.y.0: the batches of data.sine have no 'yy'"
    ]
    assert "sine" not in sys.modules


@pytest.mark.usefixtures("sine")
def test_data_set_reports_its_own_parameters(experiment_file: Path) -> None:
    changed = SINE % ", channels: {letf: 1}"
    (problem,) = load_experiment(experiment_file, [changed], strict=False).problems
    assert (problem.path, problem.code) == ("data.channels.letf", "wrong-value")
    assert (problem.message, problem.suggestions) == ("there is no channel 'letf'", ("left",))


@pytest.mark.parametrize("sine", ["failing"], indirect=True)
@pytest.mark.usefixtures("sine")
def test_description_that_fails_is_a_warning(experiment_file: Path) -> None:
    loaded = load_experiment(experiment_file, [SINE % ""], strict=False)
    assert loaded.problems == []
    (warning,) = loaded.warnings
    reason = "'sine_batches:failing' failed: ValueError: no luck"
    assert warning.message == f"the batches of data.sine are not known: {reason}"


@pytest.mark.parametrize("sine", ["unknown"], indirect=True)
@pytest.mark.usefixtures("sine")
def test_data_set_that_does_not_know_its_batches_yet_is_trusted(experiment_file: Path) -> None:
    assert problems_of(experiment_file, SINE % "", "io.targets.y=[yy]") == []


def test_input_of_the_wrong_size_is_an_error_with_both_places(tmp_path: Path) -> None:
    del tmp_path
    file = {
        "run": {"name": "a", "out_dir": "runs/a"},
        "model": {"_type_": "nn.Linear", "in_features": 8, "out_features": 1},
        "data": {"_type_": "random_regression", "x_shape": [9], "y_shape": [1], "batch_size": 4},
        "io": {"_type_": "mapping", "model_kwargs": {"input": ["x"]}, "targets": {"y": ["y"]}},
        "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
        "optimizer": {"_type_": "optim_cls.AdamW"},
        "trainer": {"_type_": "default", "max_steps": 1},
    }
    (problem,) = load_experiment(file, strict=False).problems
    assert render_problem(problem).splitlines() == [
        "error: io.model_kwargs.input: the input 'input' has 9 features, nn.Linear takes 8",
        "     = 'x' of data.random_regression is [9] a sample",
        "     = nn.Linear has in_features 8",
    ]


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        ("{_type_: nn.Conv2d, in_channels: 3, out_channels: 1, kernel_size: 1}", "[3, 8, 8]", ""),
        (
            "{_type_: nn.Conv2d, in_channels: 4, out_channels: 1, kernel_size: 1}",
            "[3, 8, 8]",
            "the input 'x' has 3 channels, nn.Conv2d takes 4",
        ),
        ("{_type_: nn.Linear, in_features: 8, out_features: 1}", "[3, 8]", ""),
        ("{_type_: nn.Flatten}", "[3, 8]", ""),
        ("{_type_: mlp, dims: [4, 1]}", "[3, 8]", ""),
    ],
)
def test_size_of_the_first_layer_is_held_against_a_sample(
    layer: str, shape: str, message: str, experiment_file: Path
) -> None:
    model = "model={_merge_: replace, _value_: {sequential: {inputs: [x], layers: [" + layer
    found = problems_of(experiment_file, model + "]}}}", f"data.x_shape={shape}")
    expected = [f"io.model_kwargs.x: {message}"] if message else []
    assert found == expected
