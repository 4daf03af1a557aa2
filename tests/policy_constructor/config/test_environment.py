from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.config import resolve_config

if TYPE_CHECKING:
    from tests.policy_constructor.config.conftest import Fail


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of the table."""
    monkeypatch.setenv("TXT", " a ${b} ")
    monkeypatch.setenv("NUM", " 12 ")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("JSON", '{"a": [1, "${x}"], "b": null}')
    monkeypatch.delenv("GONE", raising=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:TXT}", " a ${b} "),
        ("${env:NUM}", " 12 "),
        ("${env:int:NUM}", 12),
        ("${ env: int : NUM }", 12),
        ("${env:float:NUM}", 12.0),
        ("${env:int:GONE,0x1F}", 31),
        ("${env:int:GONE,-3}", -3),
        ("${env:float:GONE, 1e-3 }", 1e-3),
        ("${env:float:GONE,-.inf}", float("-inf")),
        ("${env:bool:GONE,Yes}", True),
        ("${env:bool:GONE,0}", False),
        ("${env:json:JSON}", {"a": [1, "${x}"], "b": None}),
        ('${env:json:GONE,{"a": {"b": 1}}}', {"a": {"b": 1}}),
        ("${env:EMPTY,x}", ""),
        ("${env:GONE,}", ""),
        ("${env:GONE, a, b }", " a, b "),
        ("${env:GONE,${width}}", "256"),
        ("${env:int:GONE,${width}}", 256),
        ("${env:GONE,${env:NUM}}", " 12 "),
        ("<${env:TXT}|${env:bool:GONE,on}>", "< a ${b} |true>"),
    ],
)
def test_variable_has_its_type_and_default(text: str, value: Any) -> None:
    found = resolve_config({"width": 256, "x": text}).data["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${env:GONE}", "the environment variable 'GONE' is not set and has no default"),
        ("${env:int:TXT}", "expected an integer in environment variable 'TXT'"),
        ("${env:int:EMPTY}", "expected an integer in environment variable 'EMPTY'"),
        ("${env:int:GONE,1_0}", "expected an integer in the default of 'GONE'"),
        ("${env:float:GONE,1_0}", "expected a number in the default of 'GONE'"),
        ("${env:float:TXT}", "expected a number in environment variable 'TXT'"),
        (
            "${env:bool:NUM}",
            "expected true or false (also 1, 0, yes, no, on, off) in environment variable 'NUM'",
        ),
        ("${env:json:TXT}", "expected JSON without repeated keys in environment variable 'TXT'"),
        (
            '${env:json:GONE,{"a": 1, "a": 2}}',
            "expected JSON without repeated keys in the default of 'GONE'",
        ),
        (
            "${env:json:GONE," + "[" * 50_000 + "}",
            "expected JSON without repeated keys in the default of 'GONE'",
        ),
        (
            "${env:integer:NUM}",
            "unknown type 'integer' in an environment reference; known: int, float, bool, json",
        ),
        ("${env:}", "'' is not the name of an environment variable"),
        ("${env:A B}", "'A B' is not the name of an environment variable"),
        ("${env:json:JSON} x", "${env:json:JSON} is a mapping, which cannot stand inside text"),
    ],
)
def test_wrong_variable_is_explained_without_its_value(text: str, message: str, fail: Fail) -> None:
    assert fail({"x": text}).split("; did you")[0] == f"error: x: {message}"


def test_missing_variable_suggests_one_that_is_set(fail: Fail) -> None:
    assert fail({"x": "${env:JSONN}"}) == (
        "error: x: the environment variable 'JSONN' is not set and has no default; "
        "did you mean 'JSON'?"
    )


def test_defaults_inside_defaults_are_limited(fail: Fail) -> None:
    text = "${env:GONE," * 40 + "x" + "}" * 40
    assert fail({"x": text}) == "error: x: more than 32 references lead from one to the next"


def test_json_deeper_than_the_limit_is_refused(fail: Fail) -> None:
    text = "${env:json:GONE," + "[" * 70 + "]" * 70 + "}"
    assert fail({"x": text}).endswith("nested deeper than 64 levels")
