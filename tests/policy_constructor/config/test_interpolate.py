from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.config import resolve_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.policy_constructor.config.conftest import Fail


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${p.width}", 256),
        ("${ p.width }", 256),
        ("${p.rate}", 1e-5),
        ("${p.flag}", True),
        ("${p.none}", None),
        ("${p.dims}", [1, 2]),
        ("${p.dims.1}", 2),
        (
            "${p}",
            {"width": 256, "rate": 1e-5, "flag": True, "none": None, "dims": [1, 2], "a.b": 7},
        ),
        ("${p.a.b}", 7),
        ('${p."a.b"}', 7),
        ("${chain}", 256),
        ("${via.width}", 256),
        ("w${p.width}-${p.rate}-${p.flag}-${p.none}", "w256-1e-05-true-null"),
        ("$x", "$x"),
        ("$$literal", "$$literal"),
        ("$${p.width}", "${p.width}"),
        ("$$${p.width} ${p.width}", "$${p.width} 256"),
    ],
)
def test_reference_takes_the_value_with_its_type(text: str, value: Any) -> None:
    source = {
        "x": text,
        "chain": "${p.width}",
        "via": "${p}",
        "p": {"width": 256, "rate": 1e-5, "flag": True, "none": None, "dims": [1, 2], "a.b": 7},
    }
    found = resolve_config(source).data["x"]
    assert found == value
    assert type(found) is type(value)


def test_definition_counts_its_uses(write: Callable[..., None]) -> None:
    write("a: 1\nb: ${a}\nc: ['x${a}', '${b}']\n")
    resolved = resolve_config("exp.yaml")
    assert [resolved.root.value[key].uses for key in "ab"] == [2, 1]
    assert resolved.root.value["b"].via is resolved.root.value["a"]
    node = resolved.node("c", 0)
    assert node is not None
    assert node.via == node.expression == "x${a}"


def test_alias_of_a_reference_is_resolved_once_each(write: Callable[..., None]) -> None:
    write("a: 1\nb: &b ['${a}', '$${a}']\nc: *b\nd: &d ${a}\ne: *d\n")
    data = resolve_config("exp.yaml").data
    assert (data["b"], data["c"], data["d"], data["e"]) == ([1, "${a}"], [1, "${a}"], 1, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: ${params.widht}\nparams: {width: 1}\n",
            (
                "exp.yaml:1:4: error: a: ${params.widht} names nothing: "
                "'params' has no key 'widht'; "
                "did you mean 'params.width'?\n"
                "  1 | a: ${params.widht}\n"
                "    |    ^^^^^^^^^^^^^^^"
            ),
        ),
        (
            "a: x ${parms} y\nparams: {width: 1}\n",
            (
                "exp.yaml:1:6: error: a: ${parms} names nothing: there is no 'parms'; "
                "did you mean 'params'?\n"
                "  1 | a: x ${parms} y\n"
                "    |      ^^^^^^^^"
            ),
        ),
        (
            "a: ${b.2}\nb: [1]\n",
            (
                "exp.yaml:1:4: error: a: ${b.2} names nothing: 'b' is a list of 1, it has no '2'\n"
                "  1 | a: ${b.2}\n"
                "    |    ^^^^^^"
            ),
        ),
        (
            "a: ${b.c}\nb: 1\n",
            (
                "exp.yaml:1:4: error: a: ${b.c} names nothing: 'b' is an integer, it has no 'c'\n"
                "  1 | a: ${b.c}\n"
                "    |    ^^^^^^"
            ),
        ),
        (
            "a: ${b\n",
            (
                "exp.yaml:1:4: error: a: '${' without '}'; write '$${' for these two characters "
                "themselves\n"
                "  1 | a: ${b\n"
                "    |    ^^^"
            ),
        ),
        (
            "a: ${b..c}\n",
            (
                "exp.yaml:1:4: error: a: 'b..c' is not a dotted path: "
                "a key is missing at column 3\n"
                "  1 | a: ${b..c}\n"
                "    |    ^^^^^^^"
            ),
        ),
        (
            "a: ${b.${c}}\n",
            (
                "exp.yaml:1:4: error: a: a reference cannot stand inside a reference\n"
                "  1 | a: ${b.${c}}\n"
                "    |    ^^^^^^^^^"
            ),
        ),
        (
            "a: x${b}\nb: [1]\n",
            (
                "exp.yaml:1:5: error: a: ${b} is a list, which cannot stand inside text\n"
                "  1 | a: x${b}\n"
                "    |     ^^^^"
            ),
        ),
        (
            "a: ${b}\nb: ${c}x\nc: ${a}\nd: ${a}\n",
            (
                "exp.yaml:3:4: error: c: the references form a cycle: a -> b -> c -> a\n"
                "  3 | c: ${a}\n"
                "    |    ^^^^"
            ),
        ),
        (
            "a: ${a}\n",
            (
                "exp.yaml:1:4: error: a: the references form a cycle: a -> a\n"
                "  1 | a: ${a}\n"
                "    |    ^^^^"
            ),
        ),
        (
            "a: {b: {c: '${a}'}}\n",
            (
                "exp.yaml:1:13: error: a.b.c: the references form a cycle: a -> a.b.c -> a\n"
                "  1 | a: {b: {c: '${a}'}}\n"
                "    |             ^^^^"
            ),
        ),
        (
            "a: *no\nb: ${a}\nc: x${a}\nd: ${a.b}\n",
            (
                "exp.yaml:1:4: error: a: the alias '*no' has no anchor above it\n"
                "  1 | a: *no\n"
                "    |    ^^^"
            ),
        ),
    ],
)
def test_wrong_reference_is_located_once(
    text: str, problem: str, write: Callable[..., None], fail: Fail
) -> None:
    write(text)
    assert fail() == problem


def test_long_chain_of_references_is_refused(fail: Fail) -> None:
    source = {f"a{n}": f"${{a{n + 1}}}" for n in range(2000)} | {"a2000": 1}
    assert "more than 32 references lead from one to the next" in fail(source)


def test_chain_defined_backwards_has_no_limit() -> None:
    source: dict[str, Any] = {"a0": 1} | {f"a{n}": f"${{a{n - 1}}}" for n in range(1, 2000)}
    assert resolve_config(source).data["a1999"] == 1


def test_structure_cannot_grow_without_end(fail: Fail) -> None:
    source: dict[str, Any] = {"a0": [1, 2]}
    source |= {f"a{n}": [f"${{a{n - 1}}}"] * 2 for n in range(1, 40)}
    assert "more than 100000 values once it is expanded" in fail(source)


def test_structure_cannot_deepen_without_end(fail: Fail) -> None:
    source: dict[str, Any] = {"a0": [1]}
    source |= {f"a{n}": [f"${{a{n - 1}}}"] for n in range(1, 80)}
    assert "nested deeper than 64 levels once it is expanded" in fail(source)


def test_text_cannot_grow_without_end(fail: Fail) -> None:
    source = {"a0": "x" * 10} | {f"a{n}": f"${{a{n - 1}}}" * 2 for n in range(1, 40)}
    assert "references make more than 1048576 characters of text" in fail(source)


def test_references_to_long_text_count_by_its_length(fail: Fail) -> None:
    source = {"a": "x" * 1_000_000, "b": ["${a}"] * 200}
    assert "more than 100000 values once it is expanded" in fail(source)


def test_deep_tree_reached_through_templates_is_refused(
    write: Callable[..., None], fail: Fail
) -> None:
    lines = ["templates:", "  t0: {v: 1}"]
    lines += [f"  t{n}: {{a: {{_template_: t{n - 1}}}}}" for n in range(1, 70)]
    lines += [f"u{n}: {{_template_: t{n}}}" for n in range(70)]
    write("\n".join(lines) + "\n")
    assert "nested deeper than 64 levels once it is expanded" in fail()
    write("\n".join(["first: '${u69}'", *lines]) + "\n")
    assert "nested deeper than 64 levels\n" in fail()
