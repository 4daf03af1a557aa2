from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest

from policy_constructor.config import to_plain
from policy_constructor.config.memory import from_plain
from policy_constructor.config.report import Report


class Colour(enum.StrEnum):
    """A text with a name."""

    RED = "red"


class Half(float):
    """A number that is a subclass, as numpy's is."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": (1, 2.5, None, True)}, {"a": [1, 2.5, None, True]}),
        ([Path("a") / "b", Colour.RED, Half(0.5)], ["a/b", "red", 0.5]),
        ({}, {}),
    ],
)
def test_python_values_become_nodes(value: Any, plain: Any) -> None:
    report = Report()
    found = to_plain(from_plain(value, report))
    assert (found, report.problems) == (plain, [])
    assert {type(item) for item in found} <= {str, float}


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"a": {1: 2}}, "a", "a key must be text, found 1"),
        ({"a": [object()]}, "a.0", "a object cannot stand in a configuration"),
        ({"a": 1 << 20_000}, "a", "the integer is too large"),
        ([0] * 100_000, "99999", "more than 100000 values"),
    ],
)
def test_what_yaml_cannot_hold_is_reported_by_path(value: Any, path: str, message: str) -> None:
    report = Report()
    from_plain(value, report)
    assert [(p.path, p.message) for p in report.problems] == [(path, message)]


def test_value_that_holds_itself_ends_at_the_depth() -> None:
    report = Report()
    endless: list[Any] = []
    endless.append(endless)
    from_plain(endless, report)
    assert [p.message for p in report.problems] == ["nested deeper than 64 levels"]
