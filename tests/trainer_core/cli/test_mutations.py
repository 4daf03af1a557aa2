"""Files with every kind of mistake: a clear answer and the right exit code, never a traceback."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_constructor.config import dotted, resolve_config
from trainer_core import load_experiment
from trainer_core.cli import main
from trainer_core.discovery.plugins import discover

EXPERIMENT = Path(__file__).parents[1] / "data" / "experiment.yaml"
RIGHT: dict[str, Any] = resolve_config(EXPERIMENT).data
FREE = ("params.", "io.targets.")
KeyPath = tuple[str | int, ...]


def key_paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(value, dict):
        below = [key_paths(child, (*path, key)) for key, child in value.items()]
        return [(*path, key) for key in value] + [found for paths in below for found in paths]
    if isinstance(value, list):
        return [p for index, child in enumerate(value) for p in key_paths(child, (*path, index))]
    return []


PATHS = key_paths(RIGHT)
NOT_FREE = [path for path in PATHS if not dotted(path).startswith(FREE)]


def mutated(path: KeyPath, change: str, value: Any = None) -> dict[str, Any]:
    document = copy.deepcopy(RIGHT)
    parent: Any = document
    for key in path[:-1]:
        parent = parent[key]
    if change == "misspelt":
        parent[f"{path[-1]}x"] = parent.pop(path[-1])
    elif change == "dropped":
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return document


def check(document: dict[str, Any], file: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `trainer check --json`; the report agrees with the exit code."""
    file.write_text(json.dumps(document, indent=1))
    code = main(["check", str(file), "--json"])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert captured.err == ""
    assert (code, report["ok"]) in {(0, True), (2, False)}
    assert all(error["line"] for error in report["errors"])
    return report


def test_table_has_more_than_a_hundred_mutations() -> None:
    assert 2 * len(NOT_FREE) + len(PATHS) > 100


@pytest.mark.parametrize("path", NOT_FREE, ids=dotted)
def test_misspelt_key_is_found(
    path: KeyPath, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = check(mutated(path, "misspelt"), tmp_path / "exp.yaml", capsys)

    assert any(dotted(path[:-1]) in error["path"] for error in report["errors"])


@pytest.mark.parametrize("path", NOT_FREE, ids=dotted)
def test_value_of_the_wrong_type_is_found(
    path: KeyPath, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = mutated(path, "replaced", [{"unexpected": [None]}])

    assert not check(document, tmp_path / "exp.yaml", capsys)["ok"]


@pytest.mark.parametrize("path", PATHS, ids=dotted)
def test_dropped_key_is_missing_or_optional(
    path: KeyPath, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(mutated(path, "dropped"), tmp_path / "exp.yaml", capsys)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["_type_", "_target_", "a", "_args_"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(PATHS), value=JSON_VALUES)
def test_any_value_at_any_key_gives_problems_only(path: KeyPath, value: Any) -> None:
    load_experiment(mutated(path, "replaced", value), plugins=discover(), strict=False)


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, len(EXPERIMENT.read_text())),
    length=st.integers(0, 12),
    text=st.text(alphabet=" \t\n:{}[],-'\"#&*!|>%@`$~01ax\x00é", max_size=5),
)
def test_any_damage_to_the_text_gives_problems_only(
    start: int, length: int, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("damaged") / "exp.yaml"
    whole = EXPERIMENT.read_text()
    file.write_text(whole[:start] + text + whole[start + length :], encoding="utf-8")

    load_experiment(file, strict=False)
