from __future__ import annotations

import pytest

from policy_constructor.config.node import Node, Path
from policy_constructor.config.paths import parse_path, split_path, step_into


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b.0", ("a", "b", 0)),
        ("a.007", ("a", "007")),
        ('windows."a.b".1', ("windows", "a.b", 1)),
        ('"0"', ("0",)),
        ('""', ("",)),
    ],
)
def test_dotted_path_is_split_into_keys(text: str, path: Path) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a dotted path: a key is missing at column 1"),
        ("a..b", "'a..b' is not a dotted path: a key is missing at column 3"),
        ("a.", "'a.' is not a dotted path: a key is missing at column 3"),
        ('"a"b', "'\"a\"b' is not a dotted path: expected '.' at column 4"),
        ('a"b"', "'a\"b\"' is not a dotted path: expected '.' at column 2"),
    ],
)
def test_malformed_path_names_the_column(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="is not a dotted path") as caught:
        parse_path(text)
    assert str(caught.value) == message


def test_segments_know_where_they_stand() -> None:
    assert [(s.start, s.end) for s in split_path('ab."c".1')] == [(0, 2), (3, 6), (7, 8)]


def tree() -> Node:
    dotted = Node({"observation.state": Node(1), "0": Node(2)})
    return Node({"windows": dotted, "items": Node([Node("x")])})


def test_step_enters_a_key_that_holds_dots() -> None:
    step = step_into(tree().value["windows"], ("observation", "state"), 0)
    assert step is not None
    assert (step.key, step.position) == ("observation.state", 2)


def test_step_takes_an_index_as_key_of_a_mapping() -> None:
    step = step_into(tree().value["windows"], (0,), 0)
    assert step is not None
    assert step.node.value == 2


@pytest.mark.parametrize(
    ("key", "path"),
    [("items", (1,)), ("items", ("x",)), ("windows", ("observation", "stat"))],
)
def test_step_to_nowhere_is_none(key: str, path: Path) -> None:
    assert step_into(tree().value[key], path, 0) is None


def test_step_below_a_scalar_is_none() -> None:
    assert step_into(Node(1), ("a",), 0) is None
