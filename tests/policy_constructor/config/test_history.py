from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policy_constructor.config import dotted, find_path, history_of, parse_path, resolve_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from policy_constructor.config import History


def explain(path: str, *overrides: str) -> History:
    history = history_of(resolve_config("exp.yaml", overrides), parse_path(path))
    assert history is not None
    return history


def test_history_keeps_all_that_was_replaced(write: Callable[..., None]) -> None:
    write("lr: 1", "a.yaml")
    write("defaults: [a.yaml]\nlr: 2", "b.yaml")
    write("defaults: [b.yaml]\nlr: 3")
    history = explain("lr", "lr=4")
    assert [node.value for node in history.node.replaced] == [3, 2, 1]


def test_history_follows_references_to_the_definition(write: Callable[..., None]) -> None:
    write("a: 1\nb: ${a}\nc: ${b}\n")
    history = explain("c")
    assert [node.node.expression for node in history.through] == ["${b}", "${a}"]
    assert str(history.definition.mark and history.definition.mark.to_location()) == "exp.yaml:1:4"


def test_history_follows_the_reference_of_a_parent(write: Callable[..., None]) -> None:
    write("params: {opt: {lr: 1}}\nmodel: {optimizer: '${params.opt}'}\n")
    history = explain("model.optimizer.lr")
    assert [dotted(place.path) for place in history.through] == ["model.optimizer"]


def test_history_names_users_of_whole_values_and_texts(write: Callable[..., None]) -> None:
    write("a: 1\nb: ${a}\nc: x-${a}-${ a }\nd: $${a}\ne: ${env:a,1}\n")
    history = explain("a")
    assert [dotted(place.path) for place in history.users] == ["b", "c"]
    assert history.node.uses == 3


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("windows.observation.state.0", ("windows", "observation.state", 0)),
        ('windows."observation.state"', ("windows", "observation.state")),
        ("windows.action", None),
    ],
)
def test_path_may_name_keys_with_dots(
    written: str, found: tuple[str | int, ...] | None, write: Callable[..., None]
) -> None:
    write("windows: {observation.state: [1]}")
    assert find_path(resolve_config("exp.yaml").root, parse_path(written)) == found


def test_value_that_is_not_there_has_no_history(write: Callable[..., None]) -> None:
    write("a: 1")
    assert history_of(resolve_config("exp.yaml"), ("b",)) is None
