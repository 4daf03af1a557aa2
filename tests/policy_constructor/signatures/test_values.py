from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_constructor.config.node import Node
from policy_constructor.signatures.annotations import Opaque, opaque_class
from policy_constructor.signatures.value_words import describe, shown, type_text
from policy_constructor.signatures.values import find_mismatch

SCALARS = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["a", "3"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)
LEAVES = st.sampled_from(
    [int, float, str, bool, type(None), Literal["a", 3], Literal[True], Path, Any]
)
ANNOTATIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda t: list[t]),  # type: ignore[valid-type] # a type made at run time
        inner.map(lambda t: tuple[t, ...]),  # type: ignore[valid-type] # as above
        st.tuples(inner, inner).map(lambda t: tuple[t]),  # type: ignore[valid-type] # as above
        inner.map(lambda t: dict[str, t]),  # type: ignore[valid-type] # as above
        st.tuples(inner, inner).map(lambda t: t[0] | t[1] if Any not in t else Any),
    ),
    max_leaves=4,
)


def to_node(value: Any) -> Node:
    if isinstance(value, dict):
        return Node({key: to_node(child) for key, child in value.items()})
    if isinstance(value, list):
        return Node([to_node(child) for child in value])
    return Node(value)


@given(annotation=ANNOTATIONS, value=VALUES)
def test_values_fit_as_in_strict_json_mode(annotation: Any, value: Any) -> None:
    try:
        pydantic.TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
        accepted = True
    except pydantic.ValidationError:
        accepted = False
    assert (find_mismatch(annotation, to_node(value), ()) is None) == accepted


@given(annotation=ANNOTATIONS, value=VALUES)
def test_reported_place_holds_the_reported_value(annotation: Any, value: Any) -> None:
    root = to_node(value)
    found = find_mismatch(annotation, root, ())
    assert found is None or root.child(*found.path) is found.node


@pytest.mark.parametrize(
    ("annotation", "words", "text"),
    [
        (int, "an integer", "int"),
        (float, "a number", "float"),
        (str | None, "a string or null", "str | None"),
        (int | str | None, "an integer, a string or null", "int | str | None"),
        (list[int], "a list of integers", "list[int]"),
        (list[Any], "a list", "list[Any]"),
        (set[str], "a list of strings", "set[str]"),
        (tuple[int, int], "a list of 2 integers", "tuple[int, int]"),
        (tuple[int, str], "a list of 2 values", "tuple[int, str]"),
        (tuple[float, ...], "a list of numbers", "tuple[float, ...]"),
        (dict[str, int], "a mapping", "dict[str, int]"),
        (Literal["a"], "'a'", "Literal['a']"),
        (Literal["a", 3], "one of 'a', 3", "Literal['a', 3]"),
        (Path, "a path", "Path"),
        (opaque_class("torch:Tensor"), "a component", "Tensor"),
        (float | opaque_class("torch:Tensor"), "a number", "float | Tensor"),
    ],
)
def test_annotation_in_words_and_as_text(annotation: Any, words: str, text: str) -> None:
    assert (describe(annotation), type_text(annotation)) == (words, text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (float("inf"), ".inf"),
        ("wide", "'wide'"),
        ("x" * 99, f"'{'x' * 59}...'"),
        ([1, None], "[1, null]"),
        (list(range(50)), "a list of 50 values"),
        ({"a": 1}, "a mapping"),
        ({"_type_": "mlp"}, "the component 'mlp'"),
    ],
)
def test_value_as_a_message_shows_it(value: Any, expected: str) -> None:
    assert shown(to_node(value)) == expected


def test_only_a_component_fits_an_opaque_class() -> None:
    tensor = opaque_class("torch:Tensor")
    assert find_mismatch(tensor, to_node({"_type_": "weights"}), ()) is None
    assert find_mismatch(tensor, to_node([1.0]), ()) is not None
    assert issubclass(tensor, Opaque)
    assert opaque_class("torch:Tensor") is tensor
