from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policy_constructor.config.node import Node
from policy_constructor.config.scalars import (
    format_scalar,
    format_text,
    kind_of,
    parse_scalar,
    show,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("NULL", None),
        ("true", True),
        ("FALSE", False),
        ("12", 12),
        ("-0012", -12),
        ("0o17", 15),
        ("0xFF", 255),
        ("1e-4", 1e-4),
        ("1.", 1.0),
        ("+.5E3", 500.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_plain_scalar_has_core_schema_value(text: str, value: Any) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    ["on", "No", "y", "nUll", "1_000", "1:30", "2024-01-01", "0b11", "-", "+", ".", "e5", "0o8"],
)
def test_what_yaml_1_2_does_not_name_is_text(text: str) -> None:
    assert parse_scalar(text) == text


def test_nan_is_a_number() -> None:
    assert math.isnan(float(str(parse_scalar(".NaN"))))


def test_integer_beyond_the_digit_limit_raises() -> None:
    with pytest.raises(ValueError, match="the integer has too many digits"):
        parse_scalar("1" * 5000)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (False, "false"), (3, "3"), (1e-5, "1e-05"), ("a", "a")],
)
def test_scalar_is_formatted_as_yaml_writes_it(value: Any, text: str) -> None:
    assert format_scalar(value) == text


@given(st.floats(allow_nan=False))
def test_formatted_float_reads_back(value: float) -> None:
    found = parse_scalar(format_scalar(value))
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain text", "plain text"),
        ("a/b-1.0", "a/b-1.0"),
        ("$x", "$x"),
        ("", '""'),
        ("12", '"12"'),
        ("null", '"null"'),
        ("a: b", '"a: b"'),
        ('say "x"\n', '"say \\"x\\"\\n"'),
        ("\x07\x85\u2028\U0001ffff", '"\\x07\\x85\\u2028\\U0001ffff"'),
    ],
)
def test_text_is_quoted_only_where_it_must_be(text: str, written: str) -> None:
    assert format_text(text) == written


@given(st.text())
def test_any_formatted_text_is_the_same_in_yaml(text: str) -> None:
    events = yaml.parse(format_text(text), Loader=yaml.CSafeLoader)
    scalar = next(event for event in events if isinstance(event, yaml.ScalarEvent))
    assert scalar.value == text


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({}, "a mapping"),
        ([], "a list"),
        (None, "null"),
        (True, "a boolean"),
        (1, "an integer"),
        (1.0, "a number"),
        ("a", "text"),
    ],
)
def test_kind_is_named_in_words(value: Any, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (Node("a" * 50), repr("a" * 37 + "...")),
        (Node(1.5), "1.5"),
        (Node([Node(1)]), "a list"),
        (Node("secret", from_env=True, expression="${env:KEY}"), "${env:KEY}"),
    ],
)
def test_value_is_shown_shortened_and_without_secrets(node: Node, text: str) -> None:
    assert show(node) == text


@pytest.mark.parametrize("text", ["1e999", "-1.0e400", "9" * 400 + "."])
def test_number_beyond_all_floats_raises(text: str) -> None:
    with pytest.raises(ValueError, match="the number is too large"):
        parse_scalar(text)
