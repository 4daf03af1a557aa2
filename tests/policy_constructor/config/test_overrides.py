from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.config import describe_source, resolve_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.policy_constructor.config.conftest import Fail

FILE = """\
run: {seed: 0, name: a}
sched: null
items: [{x: 1}, {x: 2}]
windows: {observation.state: [0, 1]}
ref: ${run}
"""


@pytest.mark.parametrize(
    ("overrides", "path", "value"),
    [
        (["run.seed=7"], ("run",), {"seed": 7, "name": "a"}),
        (["run.lr=1e-4"], ("run", "lr"), 1e-4),
        (["run.name=on"], ("run", "name"), "on"),
        (["run.name= two words "], ("run", "name"), "two words"),
        (["run.name=a: b # [c"], ("run", "name"), "a: b # [c"),
        (["run.name=x=y"], ("run", "name"), "x=y"),
        (["run.name='12'"], ("run", "name"), "12"),
        (["run.name="], ("run", "name"), None),
        (['run.name=""'], ("run", "name"), ""),
        (["run={lr: [1, 2]}"], ("run",), {"seed": 0, "name": "a", "lr": [1, 2]}),
        (["run={_merge_: replace, lr: 1}"], ("run",), {"lr": 1}),
        (["items=[]"], ("items",), []),
        (["items.0.x=5"], ("items",), [{"x": 5}, {"x": 2}]),
        (["items.1={y: 3}"], ("items", 1), {"x": 2, "y": 3}),
        (["items.0=null"], ("items",), [None, {"x": 2}]),
        (["+items=[{x: 3}, 4]"], ("items",), [{"x": 1}, {"x": 2}, {"x": 3}, 4]),
        (["+new.list=[1]", "+new.list=[2]"], ("new", "list"), [1, 2]),
        (["~items.0", "~items.0"], ("items",), []),
        (["~run.seed"], ("run",), {"name": "a"}),
        (["sched._type_=x", "sched.n=2"], ("sched",), {"_type_": "x", "n": 2}),
        (["windows.observation.state.1=9"], ("windows", "observation.state"), [0, 9]),
        (['windows."a.b"=[3]'], ("windows", "a.b"), [3]),
        (['"a=b".c=1'], ("a=b", "c"), 1),
        (["run.seed=1", "run.seed=2"], ("run", "seed"), 2),
        (["run.name=${run.seed}"], ("run", "name"), 0),
        (["run.name=@@home"], ("run", "name"), "@home"),
        (["run.name='@home'"], ("run", "name"), "@home"),
        (["run.seed=null"], ("run", "seed"), None),
        (["run.seed=true"], ("run", "seed"), True),
        (["run.seed=[1, null, 1e-3, x]"], ("run", "seed"), [1, None, 1e-3, "x"]),
    ],
)
def test_override_changes_the_tree(
    overrides: list[str], path: tuple[str | int, ...], value: Any, write: Callable[..., None]
) -> None:
    write(FILE)
    found: Any = resolve_config("exp.yaml", overrides).data
    for key in path:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


LIST = "'items' is a list of 2 items,"


@pytest.mark.parametrize(
    ("override", "place", "message"),
    [
        ("run.seed.x=1", "1:10: run.seed.x", "'run.seed' is an integer; there is no 'x' below it"),
        ("items.2.x=1", "1:7: items.2.x", f"{LIST} 2 is not one of its positions"),
        ("items.x=1", "1:7: items.x", f"{LIST} 'x' is not one of its positions"),
        (
            "ref.seed=1",
            "1:5: ref.seed",
            "'ref' is the reference ${run}; override what it refers to",
        ),
        ("new.0=1", "1:5: new.0", "there is no list at 'new'"),
        ("~run.sed", "1:6: run.sed", "'run' has no key 'sed' to delete; did you mean 'run.seed'?"),
        ("~nothing", "1:2: nothing", "there is no key 'nothing' to delete"),
        ("~items.7", "1:8: items.7", f"{LIST} 7 is not one of its positions"),
        ("~run.seed.x", "1:11: run.seed.x", "'run.seed' is an integer; there is no 'x' below it"),
        ("run.seed", "1:1", "an override is key=value; there is no '='"),
        ("a..b=1", "1:1", "'a..b' is not a dotted path: a key is missing at column 3"),
        ("=1", "1:1", "'' is not a dotted path: a key is missing at column 1"),
        (
            "defaults=[a]",
            "1:1",
            "files are read before overrides are applied; `defaults` cannot be overridden",
        ),
        (
            "run._merge_=replace",
            "1:1",
            "a directive is part of a value; write key={_merge_: ..., _value_: ...}",
        ),
        ("+items=3", "1:8: items", "'+' appends a list to a list, found an integer"),
        (
            "+run=[1]",
            "1:6: run",
            "`_merge_: append` needs a list underneath, found a mapping from exp.yaml:1:6",
        ),
        (
            "run=[1",
            "1:5",
            "not valid YAML: did not find expected ',' or ']', while parsing a flow sequence",
        ),
        ("run={a: 1, a: 2}", "1:12: a", "the key 'a' occurs twice: in line 1 and in line 1"),
        ("run.seed=" + "9" * 5000, "1:10", "the integer has too many digits"),
        (".".join("a" * 65) + "=1", "1:1", "nested deeper than 64 levels"),
    ],
)
def test_refused_override_points_at_its_part(
    override: str, place: str, message: str, write: Callable[..., None], fail: Fail
) -> None:
    write(FILE)
    first, _, rest = fail("exp.yaml", override).split("\n")[0].partition(": error: ")
    found = place.partition(": ")[2]
    assert first == f"<cli>:{place.partition(': ')[0]}"
    assert rest == (f"{found}: {message}" if found else message)


def test_tag_in_a_plain_override_is_text(write: Callable[..., None]) -> None:
    write(FILE)
    assert resolve_config("exp.yaml", ["run.name=!x"]).data["run"]["name"] == "!x"


def test_argument_is_shown_with_its_caret(write: Callable[..., None], fail: Fail) -> None:
    write(FILE)
    assert fail("exp.yaml", "run.seed=1", "run.seed.deep.x=1") == (
        "<cli>:2:10: error: run.seed.deep.x: 'run.seed' is an integer; "
        "there is no 'deep' below it\n"
        "  2 | run.seed.deep.x=1\n"
        "    |          ^^^^"
    )


def test_overridden_value_says_what_it_replaced(write: Callable[..., None]) -> None:
    write(FILE)
    node = resolve_config("exp.yaml", ["run.name=b", "run.seed=7"]).node("run", "seed")
    assert node is not None
    assert describe_source(node) == "<cli>:2:10 (replaces 0 from exp.yaml:1:13)"


def test_mapping_touched_by_an_override_stays_in_its_file(write: Callable[..., None]) -> None:
    write(FILE)
    root = resolve_config("exp.yaml", ["run={x: 1}", "run.y=2"]).root
    assert root.value["run"].mark.source.name == "exp.yaml"
    assert root.mark is not None
    assert root.mark.source.name == "exp.yaml"


def test_single_override_may_be_a_plain_text(write: Callable[..., None]) -> None:
    write(FILE)
    assert resolve_config("exp.yaml", "run.seed=3").data["run"]["seed"] == 3


def test_override_below_a_list_its_template_supplies_is_explained(
    write: Callable[..., None], fail: Fail
) -> None:
    write(
        """\
        templates: {t: {xs: [1]}}
        a: {_template_: t, xs: {_merge_: append, _value_: [2]}}
        """
    )
    assert fail("exp.yaml", "a.xs.0=5").split("\n")[0] == (
        "<cli>:1:6: error: a.xs.0: 'a.xs' is a list that its template supplies; "
        "override the template's"
    )


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        (
            "v.yaml",
            "lr: 1e-3\nxs: [1, on]\n",
            {"seed": 0, "name": "a", "lr": 1e-3, "xs": [1, "on"]},
        ),
        ("v.json", '["a", null]', ["a", None]),
        ("v.yml", "${items.0.x}", 1),
        ("v.yaml", "{_merge_: replace, lr: 1}", {"lr": 1}),
        ("prompt.txt", "two\nlines: ${x}\n", "two\nlines: ${x}"),
        ("prompt", "", ""),
    ],
)
def test_value_is_read_from_a_file(
    name: str, text: str, value: Any, write: Callable[..., None]
) -> None:
    write(FILE)
    write(text, name)
    assert resolve_config("exp.yaml", [f"run=@{name}"]).data["run"] == value


def test_list_to_append_is_read_from_a_file(write: Callable[..., None]) -> None:
    write(FILE)
    write("- {x: 3}\n", "more.yaml")
    assert resolve_config("exp.yaml", ["+items=@more.yaml"]).data["items"][2] == {"x": 3}


def test_value_of_a_file_knows_its_place_there(write: Callable[..., None]) -> None:
    write(FILE)
    write("seed: 3\n", "v.yaml")
    node = resolve_config("exp.yaml", ["x=1", "run=@v.yaml"]).node("run", "seed")
    assert node is not None
    assert describe_source(node) == "v.yaml:1:7 (replaces 0 from exp.yaml:1:13)"
    assert node.mark is not None
    assert [str(place) for place in node.mark.to_location().included_from] == ["<cli>:2:5"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run=@nothing.yaml", "run: cannot read 'nothing.yaml': No such file or directory"),
        ("run=@.", "run: cannot read '.': it is not a file"),
        ("run=@", "run: cannot read '': it is not a file"),
        ("run=@binary.txt", "run: 'binary.txt' is not UTF-8: byte 0xff is not text"),
        ("run=@large.txt", "run: 'large.txt' is larger than 1048576 bytes"),
    ],
)
def test_file_that_cannot_be_read_is_named(
    override: str, message: str, write: Callable[..., None], fail: Fail, tmp_path: Path
) -> None:
    write(FILE)
    (tmp_path / "binary.txt").write_bytes(b"a\xff")
    (tmp_path / "large.txt").write_bytes(b"a" * (1 << 20 | 1))
    assert fail("exp.yaml", override).splitlines()[0] == f"<cli>:1:5: error: {message}"


def test_mistake_in_a_value_file_is_placed_there(write: Callable[..., None], fail: Fail) -> None:
    write(FILE)
    write("a: 1\na: 2\n", "v.yaml")
    assert fail("exp.yaml", "run=@v.yaml") == (
        "v.yaml:2:1: error: a: the key 'a' occurs twice: in line 1 and in line 2\n"
        "  2 | a: 2\n"
        "    | ^\n"
        "    = included from <cli>:1:5"
    )


@pytest.mark.parametrize(("text", "column"), [("[", 3), ("{", 3), ("[a, {b", 7), ("[1]]", 6)])
def test_syntax_error_of_a_value_is_within_the_argument(text: str, column: int) -> None:
    resolved = resolve_config({}, [f"a={text}"], strict=False)
    location = resolved.problems[0].location
    assert location is not None
    assert (location.line, location.column) == (1, column)
