from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policy_constructor.config import resolve_config

if TYPE_CHECKING:
    from pathlib import Path

TWICE = "params: {widht: 3, depth: 2}\na: ${params.width}\nb: ${params.width}\nc: ${params.depth}\n"
ONCE = "params: {widht: 3}\na: ${params.width}\n"
SAME_NAME = "params: {widht: 3}\nwidth: ${params.width}\n"
MISTYPED = "params: {width: 3}\na: ${params.widht}\nb: ${params.width}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TWICE, ["1:10 nothing uses 'widht', and ${params.width} names nothing"]),
        (SAME_NAME, ["1:10 nothing uses 'widht', and ${params.width} names nothing"]),
        (ONCE, ["2:4 ${params.width} names nothing: 'params' has no key 'width'"]),
        (MISTYPED, ["2:4 ${params.widht} names nothing: 'params' has no key 'widht'"]),
        ("params: 7\na: ${params.x}\nb: ${params.y}\n", ["1:9 expected a mapping, found 7"]),
    ],
)
def test_the_misspelt_one_of_two_names_is_reported(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    problems = resolve_config(tmp_path / "c.yaml", strict=False).problems
    places = [(problem.location, problem.message) for problem in problems]
    assert [f"{at.line}:{at.column} {text}" for at, text in places if at] == expected


def test_misspelt_key_names_a_reference_that_wants_it(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(TWICE)
    problem = resolve_config(tmp_path / "c.yaml", strict=False).problems[0]
    assert problem.suggestions == ("width",)
    assert problem.notes == (f"wanted by a at {tmp_path / 'c.yaml'}:2:4 and 1 more",)


def test_unused_parameter_like_that_of_the_base_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("params: {steps: 3, other: 1}\na: ${params.steps}\n")
    (tmp_path / "c.yaml").write_text("defaults: [base.yaml]\nparams: {stpes: 9, free: 1}\n")
    (problem,) = resolve_config(tmp_path / "c.yaml", strict=False).problems
    assert problem.message == "nothing uses the parameter 'stpes'"
    assert problem.suggestions == ("steps",)
    assert problem.location is not None
    assert problem.location.line == 2
