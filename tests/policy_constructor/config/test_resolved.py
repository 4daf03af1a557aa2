from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from policy_constructor.config import Node, parse_path, resolve_config
from policy_constructor.config.resolved import ResolvedConfig, definition_of
from policy_constructor.errors import render_problem

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def resolved(write: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> ResolvedConfig:
    """A file with all kinds of history."""
    monkeypatch.setenv("HOST", "h")
    write("params:\n  width: 256\n  opt: {_type_: adam, lr: 1}\nsteps: 100\n", "base.yaml")
    write(
        """\
        defaults: [base.yaml]
        params:
          width: wide
        model:
          w: ${params.width}
          same: &s {x: 1}
          again: *s
        heads:
        - ${params.width}
        - ${model.w}
        opt: ${params.opt}
        url: http://${env:HOST}
        """
    )
    return resolve_config("exp.yaml", ["steps=abc"])


@pytest.mark.parametrize(
    ("path", "on", "text"),
    [
        (
            "model.w",
            "value",
            (
                "exp.yaml:3:10: error: params.width: bad\n"
                "  3 |   width: wide\n"
                "    |          ^^^^\n"
                "    = used by model.w at exp.yaml:5:6 and 2 more\n"
                "    = replaces 256 from base.yaml:2:10"
            ),
        ),
        (
            "heads.1",
            "value",
            (
                "exp.yaml:3:10: error: params.width: bad\n"
                "  3 |   width: wide\n"
                "    |          ^^^^\n"
                "    = used by model.w at exp.yaml:5:6 and 2 more\n"
                "    = replaces 256 from base.yaml:2:10"
            ),
        ),
        (
            "params.width",
            "value",
            (
                "exp.yaml:3:10: error: params.width: bad\n"
                "  3 |   width: wide\n"
                "    |          ^^^^\n"
                "    = used by model.w at exp.yaml:5:6 and 2 more\n"
                "    = replaces 256 from base.yaml:2:10"
            ),
        ),
        (
            "model.w",
            "key",
            "exp.yaml:5:3: error: model.w: bad\n  5 |   w: ${params.width}\n    |   ^",
        ),
        (
            "opt.lr",
            "value",
            (
                "base.yaml:3:27: error: params.opt.lr: bad\n"
                "  3 |   opt: {_type_: adam, lr: 1}\n"
                "    |                           ^\n"
                "    = used by opt.lr at exp.yaml:11:6\n"
                "    = included from exp.yaml:1:12"
            ),
        ),
        (
            "opt.lr",
            "key",
            (
                "base.yaml:3:23: error: params.opt.lr: bad\n"
                "  3 |   opt: {_type_: adam, lr: 1}\n"
                "    |                       ^^\n"
                "    = used by opt.lr at exp.yaml:11:6\n"
                "    = included from exp.yaml:1:12"
            ),
        ),
        (
            "opt.beta",
            "value",
            (
                "base.yaml:3:8: error: params.opt.beta: bad\n"
                "  3 |   opt: {_type_: adam, lr: 1}\n"
                "    |        ^^^^^^^^^^^^^^^^^^^^^\n"
                "    = used by opt.beta at exp.yaml:11:6\n"
                "    = included from exp.yaml:1:12"
            ),
        ),
        (
            "model.again.x",
            "value",
            (
                "exp.yaml:6:16: error: model.same.x: bad\n"
                "  6 |   same: &s {x: 1}\n"
                "    |                ^\n"
                "    = used by model.again.x at exp.yaml:7:10"
            ),
        ),
        (
            "url",
            "value",
            (
                "exp.yaml:12:6: error: url: bad\n"
                "  12 | url: http://${env:HOST}\n"
                "     |      ^^^^^^^^^^^^^^^^^^\n"
                "     = value comes from 'http://${env:HOST}'"
            ),
        ),
        (
            "steps",
            "value",
            (
                "<cli>:1:7: error: steps: bad\n"
                "  1 | steps=abc\n"
                "    |       ^^^\n"
                "    = replaces 100 from base.yaml:4:8"
            ),
        ),
        (
            "model.missing.deep",
            "key",
            "exp.yaml:4:1: error: model.missing.deep: bad\n  4 | model:\n    | ^^^^^",
        ),
        (
            "run",
            "value",
            "exp.yaml:1:1: error: run: bad\n  1 | defaults: [base.yaml]\n    | ^",
        ),
    ],
)
def test_problem_points_at_the_definition_and_its_history(
    path: str, on: Literal["value", "key"], text: str, resolved: ResolvedConfig
) -> None:
    problem = resolved.problem(parse_path(path), "bad", on=on)
    assert render_problem(problem) == text


def test_problem_carries_all_that_it_is_given(resolved: ResolvedConfig) -> None:
    problem = resolved.problem(
        ("model",), "m", code="c", expected="e", suggestions=("s",), notes=("first",)
    )
    found = (problem.code, problem.expected, problem.suggestions, problem.notes)
    assert found == ("c", "e", ("s",), ("first",))


def test_values_from_python_have_a_path_and_no_place() -> None:
    resolved = resolve_config({"a": {"b": 1}, "c": "${a}"})
    assert resolved.problem(("a", "b"), "bad").location is None
    problem = resolved.problem(("c", "b"), "bad")
    assert (problem.path, problem.notes) == ("a.b", ("used by c.b",))


def test_value_without_a_place_is_shown_at_its_parent(resolved: ResolvedConfig) -> None:
    resolved.root.value["model"].value["extra"] = Node(3)
    assert str(resolved.problem(("model", "extra"), "bad").location) == "exp.yaml:4:1"


def test_override_of_a_python_value_says_what_it_replaced() -> None:
    resolved = resolve_config({"a": 1}, ["a=2"])
    assert resolved.problem(("a",), "bad").notes == ("replaces 1",)


def test_template_of_a_python_value_is_noted() -> None:
    source = {"templates": {"t": {"a": 1}}, "x": {"_template_": "t"}}
    assert resolve_config(source).problem(("x", "a"), "bad").notes == ("from the template of x",)


def test_definition_used_inside_text_alone_has_no_user_to_name() -> None:
    resolved = resolve_config({"a": 1, "b": "x${a}"})
    assert resolved.problem(("a",), "bad").notes == ()


def test_data_is_plain_and_cached(resolved: ResolvedConfig) -> None:
    assert resolved.data["opt"] == {"_type_": "adam", "lr": 1}
    assert resolved.data is resolved.data


def test_node_is_found_by_its_keys(resolved: ResolvedConfig) -> None:
    found = resolved.node("heads", 0)
    assert found is not None
    assert found.value == "wide"
    assert resolved.node("heads", 9) is None


def test_definition_is_followed_through_a_chain(resolved: ResolvedConfig) -> None:
    node = resolved.node("heads", 1)
    assert node is not None
    assert definition_of(node) is resolved.node("params", "width")
