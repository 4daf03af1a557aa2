from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_constructor.config import Mark, Source, resolve_config
from policy_constructor.config.references import Reference, escape, narrow, split_text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("${a.b}", [Reference("a.b")]),
        ("x${a}${b}y", ["x", Reference("a"), Reference("b"), "y"]),
        ("$x $$literal $", ["$x $$literal $"]),
        ("$${a}", ["${a}"]),
        ("$$${a}", ["$${a}"]),
        ("$${a} ${b}", ["${a} ", Reference("b")]),
        ("${env:json:X,{}}", [Reference("env:json:X,{}")]),
        ("", []),
    ],
)
def test_text_is_split_at_references(text: str, parts: list[str]) -> None:
    found = split_text(text)
    assert found == parts
    assert [type(part) for part in found] == [type(part) for part in parts]


def test_reference_without_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="without '}'"):
        split_text("a ${b")


@given(st.text(alphabet="$${}ab"))
def test_escaped_text_is_literal(text: str) -> None:
    assert "".join(split_text(escape(text))) == text
    assert resolve_config({"x": escape(text)}).data == {"x": text}


def test_mark_is_narrowed_to_one_reference() -> None:
    mark = Mark(Source("f", ["a: x ${b} y"]), 1, 4, 1, 12)
    found = narrow(mark, "b")
    assert found is not None
    assert (found.column, found.end_column) == (6, 10)


def test_mark_of_text_over_several_lines_stays() -> None:
    mark = Mark(Source("f", ["a: |"]), 1, 4, 2, 1)
    assert narrow(mark, "b") is mark
    assert narrow(None, "b") is None
    assert narrow(Mark(Source("f"), 9, 1), "b") is not None
