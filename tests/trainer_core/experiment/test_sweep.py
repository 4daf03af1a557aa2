from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_constructor.config import resolve_config
from policy_constructor.errors import ConfigError
from trainer_core.experiment.sweep import Axis, build_trials, parse_axes

FILE = {
    "params": {"lr": 0.1, "width": 64},
    "run": {"name": "a"},
    "model": {"width": "${params.width}", "depth": 2},
    "data": {"depth": 3},
}
HEAD = "<sweep>:1:"
USAGE = "range(stop) or range(start, stop, step)"
LOGSPACE = "logspace(first, last, count) with positive ends"
NEAR = "did you mean 'params.width'?"
DEFAULTS = "`defaults` cannot be swept"


def axes(*arguments: str) -> list[Axis]:
    return parse_axes(arguments, resolve_config(FILE))


def mistakes(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        axes(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argument", "key", "values"),
    [
        ("params.lr=1e-3,1e-4", "params.lr", ("1e-3", "1e-4")),
        ("seed=range(3)", "run.seed", ("0", "1", "2")),
        ("seed=range(2, 8, 3)", "run.seed", ("2", "5")),
        ("seed=range(3,0,-1)", "run.seed", ("3", "2", "1")),
        ("seed=7,range(2)", "run.seed", ("7", "0", "1")),
        ("lr=linspace(0,1,3)", "params.lr", ("0.0", "0.5", "1.0")),
        ("lr=logspace(1e-4,1e-2,3)", "params.lr", ("0.0001", "0.001", "0.01")),
        ("width=32, 64", "params.width", ("32", "64")),
        ("data.dims=[64, 64],[128]", "data.dims", ("[64, 64]", "[128]")),
        ("data.a={x: [1, 2]},null", "data.a", ("{x: [1, 2]}", "null")),
        ("data.name='a,b',c", "data.name", ("'a,b'", "c")),
        (r"data.name='a\',b\,c", "data.name", (r"'a\'", "b\\", "c")),
        ("loss={_type_: l2},{_type_: l1}", "loss", ("{_type_: l2}", "{_type_: l1}")),
    ],
)
def test_axis_is_read(argument: str, key: str, values: tuple[str, ...]) -> None:
    assert axes(argument) == [Axis(key, values)]


@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2)
            ),
            max_leaves=6,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_values_are_split_at_the_commas_between_them(values: list[Any]) -> None:
    texts = tuple(json.dumps(value) for value in values)
    assert axes(f"data.x={','.join(texts)}") == [Axis("data.x", texts)]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("lr", "<sweep>:1:1: error: a sweep is key=value,value; there is no '='"),
        ("lr=", "<sweep>:1:1: error: lr has no values"),
        (
            "lr=1,,2",
            "<sweep>:1:5: error: a value is missing between two commas; write null for none",
        ),
        ("lr=[1,2", "<sweep>:1:4: error: there is no closing ]"),
        ("lr=1,'2,3", "<sweep>:1:4: error: there is no closing '"),
        ("lr=range(3,3)", "<sweep>:1:4: error: range(3,3) has no values"),
        (
            "seed=range(1.5)",
            f"{HEAD}6: error: range(1.5) is not understood; it takes whole numbers: {USAGE}",
        ),
        (
            "lr=1,logspace(0,1,3)",
            f"{HEAD}6: error: logspace(0,1,3) is not understood; it takes {LOGSPACE}",
        ),
        (
            "widht=1",
            f"{HEAD}1: error: there is no value called 'widht'; write its whole key; {NEAR}",
        ),
        (
            "depth=1",
            "<sweep>:1:1: error: 'depth' may be model.depth or data.depth; write the whole key",
        ),
        (
            "a..b=1",
            "<sweep>:1:1: error: 'a..b' is not a dotted path: a key is missing at column 3",
        ),
        (
            "defaults=1",
            f"{HEAD}1: error: files are read before a sweep is applied; {DEFAULTS}",
        ),
    ],
)
def test_mistake_is_placed_in_its_argument(argument: str, message: str) -> None:
    assert mistakes(argument).splitlines()[0] == message


def test_all_mistakes_are_reported_at_once() -> None:
    lines = mistakes("lr=1", "params.lr=2", "x").splitlines()
    assert [line for line in lines if "error" in line] == [
        "<sweep>:2:1: error: params.lr is swept twice",
        "<sweep>:3:1: error: a sweep is key=value,value; there is no '='",
    ]


def test_last_axis_changes_fastest() -> None:
    trials = build_trials(axes("lr=1e-3,1e-4", "seed=range(2)"))
    assert [trial.name for trial in trials] == [
        "0-lr=1e-3,seed=0",
        "1-lr=1e-3,seed=1",
        "2-lr=1e-4,seed=0",
        "3-lr=1e-4,seed=1",
    ]


def test_name_of_a_trial_is_fit_for_a_folder() -> None:
    (trial,) = build_trials(axes(f"data.root='/data/{'x' * 80}'"))
    assert trial.name == f"0-root=-data-{'x' * 49}"


def test_trial_has_an_output_folder_of_its_own() -> None:
    (trial,) = build_trials(axes("lr=1e-3"))
    resolved: Any = resolve_config(FILE, trial.overrides("runs/${x/sweep")).data
    assert resolved["params"]["lr"] == 1e-3
    assert resolved["run"]["out_dir"] == "runs/${x/sweep/0-lr=1e-3"


def test_too_many_trials_are_refused() -> None:
    with pytest.raises(ConfigError, match="the sweep has 2000 trials; at most 1000 are run"):
        build_trials(axes("seed=range(1000)", "lr=1,2"))
