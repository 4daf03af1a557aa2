from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.config import resolve_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.policy_constructor.config.conftest import Fail

FILE = """\
templates:
  adam: {_type_: adam, lr: 1, betas: [1, 2], deep: {a: 1, b: 2}}
  slow: {_template_: adam, lr: 0.1}
"""


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (
            "x: {_template_: adam}",
            {"_type_": "adam", "lr": 1, "betas": [1, 2], "deep": {"a": 1, "b": 2}},
        ),
        (
            "x: {_template_: slow, deep: {b: 3}}",
            {"_type_": "adam", "lr": 0.1, "betas": [1, 2], "deep": {"a": 1, "b": 3}},
        ),
        (
            (
                "x: {_template_: adam, betas: {_merge_: append, _value_: [3]},"
                " deep: {_merge_: replace, c: 1}}"
            ),
            {"_type_": "adam", "lr": 1, "betas": [1, 2, 3], "deep": {"c": 1}},
        ),
        (
            "x: {_template_: adam, lr: null, deep: {_template_: slow, deep: 1}}",
            {
                "_type_": "adam",
                "lr": None,
                "betas": [1, 2],
                "deep": {"a": 1, "b": 2, "_type_": "adam", "lr": 0.1, "betas": [1, 2], "deep": 1},
            },
        ),
        (
            "x: [{_template_: adam, deep: 0, betas: 0}]",
            [{"_type_": "adam", "lr": 1, "betas": 0, "deep": 0}],
        ),
    ],
)
def test_mapping_wins_over_its_template(text: str, data: Any, write: Callable[..., None]) -> None:
    write(FILE + text + "\n")
    assert resolve_config("exp.yaml").data == {"x": data}


def test_directives_wait_for_the_template_across_layers(write: Callable[..., None]) -> None:
    write(FILE + "x: {_template_: adam, betas: {_merge_: append, _value_: [3]}}\n", "base.yaml")
    write("defaults: [base.yaml]\nx: {betas: {_merge_: prepend, _value_: [0]}}\n")
    found = resolve_config("exp.yaml", ["+x.betas=[4]", "+x.new=[5]"]).data["x"]
    assert found["betas"] == [0, 1, 2, 3, 4]
    assert found["new"] == [5]


def test_later_layer_may_replace_what_waits(write: Callable[..., None]) -> None:
    write(FILE + "x: {_template_: adam, betas: {_merge_: append, _value_: [3]}}\n")
    node = resolve_config("exp.yaml", ["x.betas=[9]"]).node("x", "betas")
    assert node is not None
    assert [item.value for item in node.value] == [9]


def test_template_can_be_exchanged_and_changed_by_overrides(write: Callable[..., None]) -> None:
    write(FILE + "x: {_template_: adam, lr: 3}\n")
    found = resolve_config("exp.yaml", ["x._template_=slow", "templates.adam.deep=0"]).data["x"]
    assert found == {"_type_": "adam", "lr": 3, "betas": [1, 2], "deep": 0}


def test_template_may_come_from_the_command_line_alone(write: Callable[..., None]) -> None:
    write("templates: {t: {a: 1}}\n")
    assert resolve_config("exp.yaml", ["x={_template_: t, b: 2}"]).data == {"x": {"a": 1, "b": 2}}


def test_values_keep_the_places_of_template_and_user(write: Callable[..., None]) -> None:
    write(FILE + "x: {_template_: adam, lr: 3}\n")
    resolved = resolve_config("exp.yaml")
    problem = resolved.problem(("x", "betas"), "bad")
    assert str(problem.location) == "exp.yaml:2:38"
    assert problem.notes == ("from the template of x at exp.yaml:4:4",)
    assert str(resolved.problem(("x", "lr"), "bad").location) == "exp.yaml:4:27"


def test_parameters_of_another_type_in_the_template_are_left_over(
    write: Callable[..., None], fail: Fail
) -> None:
    write(FILE + "x: {_template_: adam, _type_: sgd, lr: 1, betas: 1}\n")
    assert fail().split("\n")[0] == (
        "exp.yaml:4:31: error: x.deep: left over from exp.yaml:2:46, where `_type_` was 'adam'"
    )


@pytest.mark.parametrize("section", ["templates:", "templates: {}", "a: 1"])
def test_section_without_templates_is_allowed(section: str, write: Callable[..., None]) -> None:
    write(section + "\n")
    assert "templates" not in resolve_config("exp.yaml").data


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x: {_template_: adm}", "exp.yaml:8:17: x._template_: there is no template 'adm'"),
        (
            "x: {_template_: 3}",
            "exp.yaml:8:17: x._template_: expected the name of a template, found 3",
        ),
        (
            "x: {_template_: bad}",
            "exp.yaml:3:8: templates.bad: a template must be a mapping, found an integer",
        ),
        (
            "x: {_template_: one}",
            (
                "exp.yaml:5:25: templates.two.b._template_: the templates use each other: "
                "one -> two -> one"
            ),
        ),
        ("x: {_template_: !t adam}", "exp.yaml:8:17: x._template_: the tag '!t' is not supported"),
        (
            "x: {_template_: tagged}",
            "exp.yaml:6:11: templates.tagged: the tag '!t' is not supported",
        ),
    ],
)
def test_wrong_template_is_located(text: str, problem: str, write: Callable[..., None]) -> None:
    body = (
        "  bad: 3\n  one: {a: {_template_: two}}\n  two: {b: {_template_: one}}\n  tagged: !t x\n"
    )
    head, _, rest = FILE.partition("  slow")
    write(f"{head}{body}  slow{rest}{text}\n")
    problems = resolve_config("exp.yaml", strict=False).problems
    assert problem in {f"{p.location}: {p.path}: {p.message}" for p in problems}


def test_misspelt_template_suggests_the_nearest(write: Callable[..., None], fail: Fail) -> None:
    write(FILE + "x: {_template_: adm}\n")
    assert fail() == (
        "exp.yaml:4:17: error: x._template_: there is no template 'adm'; did you mean 'adam'?\n"
        "  4 | x: {_template_: adm}\n"
        "    |                 ^^^"
    )


def test_templates_must_be_a_mapping(write: Callable[..., None], fail: Fail) -> None:
    write("templates: [a]\n")
    assert fail() == (
        "exp.yaml:1:12: error: templates: expected a mapping of templates, found a list\n"
        "  1 | templates: [a]\n"
        "    |            ^^^"
    )


def test_templates_nested_too_deep_are_refused(write: Callable[..., None], fail: Fail) -> None:
    lines = [f"  t{n}: {{a: {{_template_: t{n + 1}}}}}" for n in range(70)]
    write("\n".join(["templates:", *lines, "  t70: {}", "x: {_template_: t0}"]) + "\n")
    assert "nested deeper than 64 levels once templates are expanded" in fail()


def test_templates_that_double_each_other_are_capped(
    write: Callable[..., None], fail: Fail
) -> None:
    lines = ["  t0: {v: 1, w: [{_merge_: replace, _value_: 1}]}"]
    lines += [
        f"  t{n}: {{a: {{_template_: t{n - 1}}}, b: {{_template_: t{n - 1}}}}}"
        for n in range(1, 31)
    ]
    write("\n".join(["templates:", *lines, "x: {_template_: t30}"]) + "\n")
    assert fail().split("\n")[0].endswith("more than 100000 values once it is expanded")


def test_merging_two_doubling_chains_is_capped(write: Callable[..., None], fail: Fail) -> None:
    lines = ["  t0: {v: 1}", "  s0: {v: 1}"]
    lines += [
        f"  {k}{n}: {{a: {{_template_: {k}{n - 1}}}, b: {{_template_: {k}{n - 1}}}}}"
        for n in range(1, 25)
        for k in "ts"
    ]
    lines += ["  big: {x: {_template_: t24}}"]
    write("\n".join(["templates:", *lines, "y: {_template_: big, x: {_template_: s24}}"]) + "\n")
    assert "more than 30000 mappings to merge, or deeper than 128 levels" in fail()
