from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from policy_constructor.config import Node, resolve_config
from policy_constructor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.policy_constructor.config.conftest import Fail


def test_all_problems_come_in_one_go_in_file_order(write: Callable[..., None], fail: Fail) -> None:
    write("a: 1\na: 2\nb: ${nope}\n", "base.yaml")
    write("defaults: [base.yaml]\nc: !t 1\nd: {_merge_: no}\n")
    lines = [line for line in fail("exp.yaml", "~zz").split("\n") if ": error: " in line]
    assert [line.split(": error")[0] for line in lines] == [
        "exp.yaml:2:4",
        "exp.yaml:3:14",
        "base.yaml:2:1",
        "base.yaml:3:4",
        "<cli>:1:2",
    ]


def test_resolution_that_is_not_strict_returns_what_there_is(write: Callable[..., None]) -> None:
    write("a: 1\nb: ${nope}\n")
    resolved = resolve_config("exp.yaml", strict=False)
    assert resolved.data == {"a": 1, "b": None}
    assert [problem.code for problem in resolved.problems] == ["unknown-reference"]
    assert resolved.root.value["b"].poisoned


def test_file_that_cannot_be_parsed_gives_a_poisoned_root(write: Callable[..., None]) -> None:
    write("a: [1\n")
    resolved = resolve_config("exp.yaml", strict=False)
    assert resolved.root.poisoned
    assert resolved.data == {}


def test_error_keeps_its_problems(write: Callable[..., None]) -> None:
    write("a: ${nope}\n")
    with pytest.raises(ConfigError) as caught:
        resolve_config("exp.yaml")
    assert [problem.path for problem in caught.value.problems] == ["a"]


def test_include_with_a_syntax_error_does_not_hide_other_problems(
    write: Callable[..., None], fail: Fail
) -> None:
    write("a: [1\n", "base.yaml")
    write("defaults: [base.yaml]\nb: !t 1\nc: ${a}\n")
    lines = [line for line in fail().split("\n") if ": error: " in line]
    assert [line.split(": error")[0] for line in lines] == ["exp.yaml:2:4", "base.yaml:1:4"]


def test_overridden_schema_version_is_checked(write: Callable[..., None], fail: Fail) -> None:
    write("schema_version: 1\n")
    assert fail("exp.yaml", "schema_version=2").split("\n")[0] == (
        "<cli>:1:16: error: schema_version: this release reads schema_version 1, found 2"
    )


def test_left_over_value_is_accepted_by_later_checks(write: Callable[..., None]) -> None:
    write("o: {_type_: a, x: 1}\n", "base.yaml")
    write("defaults: [base.yaml]\no: {_type_: b}\n")
    node = resolve_config("exp.yaml", strict=False).node("o", "x")
    assert node is not None
    assert node.poisoned


def test_extra_layer_lies_between_file_and_overrides(write: Callable[..., None]) -> None:
    write("params: {a: 1, b: 1, c: [1]}\nx: ${params.a}\n", "model.yaml")
    write("m: {a: '$${q}', b: 2, c: [2]}\n")
    given = resolve_config("exp.yaml").root.value["m"]
    layer = Node({"params": given})
    resolved = resolve_config("model.yaml", ["params.b=3"], extra_layer=layer)
    assert resolved.data == {"params": {"a": "${q}", "b": 3, "c": [2]}, "x": "${q}"}
    assert str(resolved.problem(("x",), "bad").location) == "exp.yaml:1:8"


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys; import policy_constructor.config; "
        "heavy = {'torch', 'numpy', 'pydantic', 'difflib', 'json', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout == "[]\n"
