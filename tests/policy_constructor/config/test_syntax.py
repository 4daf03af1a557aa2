from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from policy_constructor.config import Source
from policy_constructor.config.syntax import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.policy_constructor.config.conftest import Fail


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: b: c\n",
            (
                "exp.yaml:1:5: error: not valid YAML: mapping values are not allowed "
                "in this context\n"
                "  1 | a: b: c\n"
                "    |     ^\n"
                "    = expected quotes around text that contains ': ', "
                "or a line of its own for each key"
            ),
        ),
        (
            "a:\n\tb: 1\n",
            (
                "exp.yaml:2:1: error: not valid YAML: found character that cannot start any token, "
                "while scanning for the next token\n"
                "  2 | \tb: 1\n"
                "    | ^\n"
                "    = expected spaces: a tab cannot indent"
            ),
        ),
        (
            "a: @x\n",
            (
                "exp.yaml:1:4: error: not valid YAML: found character that cannot start any token, "
                "while scanning for the next token\n"
                "  1 | a: @x\n"
                "    |    ^\n"
                "    = expected quotes around text that starts with '@'"
            ),
        ),
        (
            "a: 1\nb: [1, ${a}]\n",
            (
                "exp.yaml:2:9: error: not valid YAML: did not find expected ',' or ']', "
                "while parsing a flow sequence\n"
                "  2 | b: [1, ${a}]\n"
                "    |         ^\n"
                "    = expected quotes around '${...}' inside brackets and braces"
            ),
        ),
        (
            "a: 1\nb: [1, 2\n",
            (
                "exp.yaml:2:4: error: not valid YAML: did not find expected ',' or ']', "
                "while parsing a flow sequence\n"
                "  2 | b: [1, 2\n"
                "    |    ^"
            ),
        ),
        (
            "a: 1\nb:2\nc: 3\n",
            (
                "exp.yaml:2:1: error: not valid YAML: could not find expected ':', "
                "while scanning a simple key\n"
                "  2 | b:2\n"
                "    | ^\n"
                "    = expected 'key: value', with a space behind the colon"
            ),
        ),
        (
            "a: ü\nb: \x01\n",
            (
                "exp.yaml:2:4: error: not valid YAML: control characters are not allowed\n"
                "  2 | b: \x01\n"
                "    |    ^"
            ),
        ),
    ],
)
def test_syntax_error_has_a_place_and_advice(
    text: str, problem: str, write: Callable[..., None], fail: Fail
) -> None:
    write(text)
    assert fail() == problem


def test_error_without_a_mark_points_at_the_start() -> None:
    mark, message, advice = explain(yaml.MarkedYAMLError(problem="odd"), "", Source("f"), 3, 2)
    assert (mark.line, mark.column, message, advice) == (3, 2, "not valid YAML: odd", "")
