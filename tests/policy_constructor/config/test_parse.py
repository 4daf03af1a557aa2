from __future__ import annotations

from typing import Any

import pytest
import yaml

from policy_constructor.config import Node, Source, to_plain
from policy_constructor.config import parse as parser
from policy_constructor.config.parse import parse_text
from policy_constructor.config.report import Report
from policy_constructor.errors import render_problem


def parse(text: str) -> tuple[Node | None, str]:
    """Return the root and the rendered problems."""
    report = Report()
    root = parse_text(text, Source("f.yaml", text.split("\n")), report)
    return root, "\n".join(render_problem(problem) for problem in report.problems)


@pytest.fixture(params=["libyaml", "pure"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with libyaml and without."""
    if request.param == "pure":
        monkeypatch.setattr(parser, "_LOADER", yaml.SafeLoader)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", {}),
        ("# only a comment\n", {}),
        ("a: 1e-3\nb: [on, '3', null]\n", {"a": 1e-3, "b": ["on", "3", None]}),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("&k a: 1\nb: *k\n", {"a": 1, "b": "a"}),
        ("'1': x\n'<<': y\n", {"1": "x", "<<": "y"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("%YAML 1.1\n---\na: yes\n...\n", {"a": "yes"}),
    ],
)
def test_text_becomes_plain_data(text: str, data: dict[str, Any]) -> None:
    root, problems = parse(text)
    assert problems == ""
    assert root is not None
    assert to_plain(root) == data


def test_values_and_keys_know_their_places() -> None:
    root, _ = parse("a:\n  bc: [1, 'two']\n")
    assert root is not None
    node = root.child("a", "bc", 1)
    key = root.child("a", "bc")
    assert node is not None
    assert key is not None
    assert node.mark is not None
    assert (node.mark.line, node.mark.column, node.mark.end_column) == (2, 11, 16)
    assert key.key_mark is not None
    assert (key.key_mark.line, key.key_mark.column, key.key_mark.end_column) == (2, 3, 5)


def test_flow_collection_is_marked_to_its_end() -> None:
    root, _ = parse("a: [1, 2]\n")
    assert root is not None
    mark = root.value["a"].mark
    assert (mark.column, mark.end_column) == (4, 10)


def test_alias_has_its_own_place_and_its_anchor() -> None:
    root, _ = parse("a: &x 1\nb: *x\n")
    assert root is not None
    node = root.value["b"]
    assert node.mark.line == 2
    assert node.via is root.value["a"]


@pytest.mark.parametrize(
    ("text", "problems", "data"),
    [
        (
            "a: 1\nb: 2\na: 3\n",
            (
                "f.yaml:3:1: error: a: the key 'a' occurs twice: in line 1 and in line 3\n"
                "  3 | a: 3\n"
                "    | ^"
            ),
            {"a": 1, "b": 2},
        ),
        (
            "1: x\nnull: {y: 1}\n? [k]\n: z\na: 1\n",
            (
                "f.yaml:1:1: error: 1: a key must be text, found an integer; put it in quotes\n"
                "  1 | 1: x\n"
                "    | ^\n"
                "f.yaml:2:1: error: null: a key must be text, found null; put it in quotes\n"
                "  2 | null: {y: 1}\n"
                "    | ^^^^\n"
                "f.yaml:3:3: error: null: a key must be text\n"
                "  3 | ? [k]\n"
                "    |   ^"
            ),
            {"a": 1},
        ),
        (
            "a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n",
            (
                "f.yaml:3:3: error: c.<<: the merge key '<<' is not supported; "
                "use `_template_` or `defaults`\n"
                "  3 |   <<: *x\n"
                "    |   ^^"
            ),
            {"a": {"b": 1}, "c": {"d": 2}},
        ),
        (
            "a: &x k\n*x : 1\n",
            "f.yaml:2:1: error: a: a key must be text\n  2 | *x : 1\n    | ^^",
            {"a": "k"},
        ),
        (
            "a: !!int 3\n!t b: 1\n",
            (
                "f.yaml:1:4: error: a: the tag '!!int' is not supported\n"
                "  1 | a: !!int 3\n"
                "    |    ^^^^^^^\n"
                "f.yaml:2:1: error: b: the tag '!t' is not supported\n"
                "  2 | !t b: 1\n"
                "    | ^^^^"
            ),
            {"a": "3"},
        ),
        (
            "a: *nope\nb: 1\n",
            (
                "f.yaml:1:4: error: a: the alias '*nope' has no anchor above it\n"
                "  1 | a: *nope\n"
                "    |    ^^^^^"
            ),
            {"a": None, "b": 1},
        ),
        (
            "a: &x [1, *x]\n",
            (
                "f.yaml:1:11: error: a.1: the alias '*x' stands inside the value it repeats\n"
                "  1 | a: &x [1, *x]\n"
                "    |           ^^"
            ),
            {"a": [1, None]},
        ),
    ],
)
def test_mistake_is_reported_and_the_rest_is_read(
    text: str, problems: str, data: dict[str, Any]
) -> None:
    root, found = parse(text)
    assert found == problems
    assert root is not None
    assert to_plain(root) == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]\n", "f.yaml:1:1: error: a file must hold a mapping (key: value), found a list"),
        ("~\n", "f.yaml:1:1: error: a file must hold a mapping (key: value), found null"),
        ("a: 1\n---\nb: 1\n", "f.yaml:2:1: error: a second document starts here; a file holds one"),
        ("*x\n", "f.yaml:1:1: error: the alias '*x' has no anchor above it"),
        ("[" * 65 + "]" * 65, "f.yaml:1:65: error: nested deeper than 64 levels"),
        ("[" * 50_000, "f.yaml:1:65: error: nested deeper than 64 levels"),
    ],
)
def test_file_that_cannot_be_used_ends_with_one_problem(text: str, message: str) -> None:
    root, found = parse(text)
    assert root is None
    assert found.split("\n")[0] == message


def test_integer_with_too_many_digits_is_located() -> None:
    _, found = parse("a:\n- " + "9" * 5000)
    assert found == "f.yaml:2:3: error: a.0: the integer has too many digits"


def test_integer_key_with_too_many_digits_is_no_text() -> None:
    _, found = parse("? " + "9" * 5000 + "\n: 1\n")
    assert "a key must be text, found an integer; put it in quotes" in found


def test_alias_bomb_stops_at_the_cap() -> None:
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for one, two in zip("abcdefgh", "bcdefghi", strict=True):
        text += f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]\n"
    root, found = parse(text)
    assert root is None
    assert found.split("\n")[0] == (
        "f.yaml:6:12: error: more than 100000 values after the expansion of aliases"
    )


def test_aliases_cannot_nest_beyond_the_depth() -> None:
    text = "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 30 + "*a" + "]" * 30 + "\n"
    root, found = parse(text)
    assert root is None
    assert found.split("\n")[0] == "f.yaml:2:34: error: nested deeper than 64 levels"


def test_long_text_counts_by_its_length() -> None:
    text = "a: &a " + "x" * 200_000 + "\nb: [" + ", ".join(["*a"] * 600) + "]\n"
    root, found = parse(text)
    assert root is None
    assert "more than 100000 values after the expansion of aliases" in found
