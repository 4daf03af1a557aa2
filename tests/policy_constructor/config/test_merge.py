from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_constructor.config import resolve_config, to_plain
from policy_constructor.config.memory import from_plain
from policy_constructor.config.merge import Merger
from policy_constructor.config.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.policy_constructor.config.conftest import Fail

names = st.sampled_from(["a", "b", "c", "d"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3))
leaves = st.dictionaries(names, scalars | st.lists(scalars, max_size=3), max_size=3)
mappings: Any = st.recursive(  # a key is either always a mapping or never
    leaves,
    lambda inner: st.builds(
        lambda own, below: own | below, leaves, st.dictionaries(st.sampled_from("XYZ"), inner)
    ),
    max_leaves=6,
)
trees = scalars | mappings
lists = st.lists(st.integers(), max_size=4)
keyed = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"x": st.integers(), "y": st.integers()}),
    max_size=4,
    unique_by=lambda item: str(item["name"]),
)


def merge(*layers: Any) -> Any:
    """Merge plain layers, the lowest first."""
    report = Report()
    merger = Merger(report, has_directives=True)
    node = None
    for layer in layers:
        node = merger.merge(node, from_plain(layer, report), ())
    assert node is not None
    assert report.problems == []
    return to_plain(node)


@given(mappings, mappings, mappings)
def test_merge_of_plain_mappings_is_associative(a: Any, b: Any, c: Any) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(mappings)
def test_empty_mapping_changes_nothing(a: Any) -> None:
    assert merge(a, {}) == merge({}, a) == merge(a, a) == a


@given(lists, lists)
def test_append_and_prepend_mirror_each_other(a: Any, b: Any) -> None:
    append = merge({"x": a}, {"x": {"_merge_": "append", "_value_": b}})
    prepend = merge({"x": b}, {"x": {"_merge_": "prepend", "_value_": a}})
    assert append == prepend == {"x": a + b}


@given(keyed, keyed)
def test_keyed_merge_is_idempotent(a: Any, b: Any) -> None:
    layer = {"x": {"_merge_": "keyed", "_value_": b}}
    once = merge({"x": a}, layer)
    assert merge(once, layer) == once


@given(keyed, keyed)
def test_keyed_merge_keeps_the_order_of_both(a: Any, b: Any) -> None:
    found = merge({"x": a}, {"x": {"_merge_": "keyed", "_value_": b}})["x"]
    order = list(dict.fromkeys(item["name"] for item in [*a, *b]))
    assert [item["name"] for item in found] == order


@given(trees, trees)
def test_replace_forgets_what_lies_underneath(a: Any, b: Any) -> None:
    assert merge({"x": a}, {"x": {"_merge_": "replace", "_value_": b}}) == {"x": b}


@pytest.mark.parametrize("mode", ["replace", "append", "prepend", "keyed"])
def test_directive_with_nothing_underneath_is_unwrapped(mode: str) -> None:
    items = [{"name": "a", "z": {"_merge_": mode, "_value_": [{"name": "b"}]}}]
    found = merge({"x": {"_merge_": mode, "_value_": items}})
    assert found == {"x": [{"name": "a", "z": [{"name": "b"}]}]}


def test_append_to_null_is_unwrapped() -> None:
    assert merge({"x": None}, {"x": {"_merge_": "append", "_value_": [1]}}) == {"x": [1]}


def test_replace_beside_keys_takes_the_whole_mapping() -> None:
    found = merge({"x": {"a": 1, "b": 2}}, {"x": {"_merge_": "replace", "b": 3}})
    assert found == {"x": {"b": 3}}


def test_keyed_items_match_by_another_key() -> None:
    base = {"x": [{"id": 1, "v": 1}, {"id": True, "v": 2}]}
    top = {"x": {"_merge_": "keyed", "key": "id", "_value_": [{"id": True, "v": 3}]}}
    assert merge(base, top) == {"x": [{"id": 1, "v": 1}, {"id": True, "v": 3}]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "x: {_merge_: apend, _value_: []}\n",
            (
                "exp.yaml:2:14: error: x._merge_: unknown merge mode 'apend'; "
                "did you mean 'append' or 'prepend'?\n"
                "  2 | x: {_merge_: apend, _value_: []}\n"
                "    |              ^^^^^\n"
                "    = expected replace, append, prepend, keyed"
            ),
        ),
        (
            "x: {_merge_: 3}\n",
            (
                "exp.yaml:2:14: error: x._merge_: unknown merge mode 3\n"
                "  2 | x: {_merge_: 3}\n"
                "    |              ^\n"
                "    = expected replace, append, prepend, keyed"
            ),
        ),
        (
            "x: {_value_: []}\n",
            (
                "exp.yaml:2:5: error: x: `_value_` needs `_merge_` beside it\n"
                "  2 | x: {_value_: []}\n"
                "    |     ^^^^^^^"
            ),
        ),
        (
            "x: {_merge_: append, _value_: 3}\n",
            (
                "exp.yaml:2:31: error: x: `_merge_: append` needs a list in `_value_`, "
                "found an integer\n"
                "  2 | x: {_merge_: append, _value_: 3}\n"
                "    |                               ^"
            ),
        ),
        (
            "x: {_merge_: prepend, a: 1}\n",
            (
                "exp.yaml:2:4: error: x: `_merge_: prepend` needs a list in `_value_`, "
                "found nothing\n"
                "  2 | x: {_merge_: prepend, a: 1}\n"
                "    |    ^^^^^^^^^^^^^^^^^^^^^^^^"
            ),
        ),
        (
            "m: {_merge_: append, _value_: [1]}\n",
            (
                "exp.yaml:2:4: error: m: `_merge_: append` needs a list underneath, "
                "found a mapping "
                "from base.yaml:2:4\n"
                "  2 | m: {_merge_: append, _value_: [1]}\n"
                "    |    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"
            ),
        ),
        (
            "x: {_merge_: append, _value_: [], a: 1}\n",
            (
                "exp.yaml:2:35: error: x.a: `_merge_` with `_value_` takes no key 'a'\n"
                "  2 | x: {_merge_: append, _value_: [], a: 1}\n"
                "    |                                   ^"
            ),
        ),
        (
            "x: {_merge_: keyed, key: 3, _value_: []}\n",
            (
                "exp.yaml:2:26: error: x.key: `key` must be the name of a key, found 3\n"
                "  2 | x: {_merge_: keyed, key: 3, _value_: []}\n"
                "    |                          ^"
            ),
        ),
        (
            "x: {_merge_: keyed, _value_: [{name: b}, 3]}\n",
            (
                "exp.yaml:2:42: error: x: an item of a keyed list needs the key 'name' "
                "with a scalar\n"
                "  2 | x: {_merge_: keyed, _value_: [{name: b}, 3]}\n"
                "    |                                          ^"
            ),
        ),
        (
            "x: {_merge_: keyed, _value_: [{name: b}, {name: b}]}\n",
            (
                "exp.yaml:2:49: error: x: two items of a keyed list have name 'b'; "
                "the other: exp.yaml:2:38\n"
                "  2 | x: {_merge_: keyed, _value_: [{name: b}, {name: b}]}\n"
                "    |                                                 ^"
            ),
        ),
    ],
)
def test_wrong_directive_is_located(
    text: str, problem: str, write: Callable[..., None], fail: Fail
) -> None:
    write("x: [{name: a}]\nm: {}\n", "base.yaml")
    write(f"defaults: [base.yaml]\n{text}")
    assert fail() == problem


def test_poisoned_parts_of_a_directive_are_silent(write: Callable[..., None]) -> None:
    write("x: *no\n", "base.yaml")
    write(
        """\
        defaults: [base.yaml]
        x: {_merge_: append, _value_: [1]}
        y: {_merge_: !t append, _value_: [1]}
        z: {_merge_: append, _value_: *no}
        k: {_merge_: keyed, _value_: [*no]}
        m: {_merge_: *no, _value_: [1]}
        """
    )
    codes = {problem.code for problem in resolve_config("exp.yaml", strict=False).problems}
    assert codes == {"yaml-alias", "yaml-tag"}


def test_duplicate_items_without_a_place_are_counted(fail: Fail) -> None:
    items = {"_merge_": "keyed", "_value_": [{"name": "a"}, {"name": "a"}]}
    text = fail({"x": items})
    assert text == "error: x: two items of a keyed list have name 'a'; the other: item 0"


def test_replaced_values_are_remembered_newest_first(write: Callable[..., None]) -> None:
    write("a: 1\n", "one.yaml")
    write("defaults: [one.yaml]\na: 2\n", "two.yaml")
    write("defaults: [two.yaml]\na: 3\n")
    node = resolve_config("exp.yaml").root.value["a"]
    assert [old.value for old in node.replaced] == [2, 1]


def test_mapping_over_scalar_keeps_the_scalar_in_its_history(write: Callable[..., None]) -> None:
    write("a: 1\nb: {c: 1}\n", "one.yaml")
    write("defaults: [one.yaml]\na: {x: 2}\nb: 2\n")
    root = resolve_config("exp.yaml").root
    assert root.value["a"].replaced[0].value == 1
    assert root.value["b"].replaced[0].is_mapping


def test_left_over_parameters_are_reported(write: Callable[..., None], fail: Fail) -> None:
    write("opt: {_type_: adam, lr: 1, betas: [1], params: {w: 1, m: 2}}\n", "base.yaml")
    write("defaults: [base.yaml]\nopt: {_type_: sgd, lr: 2, params: {m: 1}}\n")
    assert fail() == (
        "exp.yaml:2:15: error: opt.betas: left over from base.yaml:1:28, "
        "where `_type_` was 'adam'\n"
        "  2 | opt: {_type_: sgd, lr: 2, params: {m: 1}}\n"
        "    |               ^^^\n"
        "    = expected `_merge_: replace` beside `_type_`, or the parameter set again\n"
        "exp.yaml:2:15: error: opt.params.w: left over from base.yaml:1:49, "
        "where `_type_` was 'adam'\n"
        "  2 | opt: {_type_: sgd, lr: 2, params: {m: 1}}\n"
        "    |               ^^^\n"
        "    = expected `_merge_: replace` beside `_type_`, or the parameter set again"
    )


@pytest.mark.parametrize(
    ("base", "top"),
    [
        ("{_type_: adam, lr: 1}", "{_type_: optim_cls.adam}"),
        ("{_type_: a::adam, lr: 1}", "{_type_: adam}"),
        ("{_type_: adam, lr: 1}", "{_merge_: replace, _type_: sgd}"),
        ("{_type_: '${kind}', lr: 1}", "{_type_: sgd}"),
        ("{_type_: adam, lr: 1}", "{_type_: 3}"),
        ("{_type_: adam, fn: {_type_: x, a: 1}}", "{_type_: sgd, fn: {_type_: x}}"),
        ("{_type_: adam, fn: {lr: 1}}", "{_type_: sgd, fn: {_type_: x, lr: 2}}"),
        ("{_type_: adam, fn: {lr: 1}}", "{_type_: sgd, fn: 3}"),
        ("{_type_: adam, _template_: t}", "{_type_: sgd}"),
        ("{_type_: adam, lr: 1}", "{_type_: '${gone}'}"),
    ],
)
def test_parameters_of_the_same_component_stay(
    base: str, top: str, write: Callable[..., None]
) -> None:
    write(f"kind: adam\ntemplates: {{t: {{}}}}\nopt: {base}\n", "base.yaml")
    write(f"defaults: [base.yaml]\nopt: {top}\n")
    problems = resolve_config("exp.yaml", strict=False).problems
    assert [p.code for p in problems if p.code == "left-over"] == []


def test_parameter_set_again_by_a_later_layer_is_not_left_over(
    write: Callable[..., None],
) -> None:
    write("opt: {_type_: adam, lr: 1, eps: 2}\n", "base.yaml")
    write("defaults: [base.yaml]\nopt: {_type_: sgd}\n", "mid.yaml")
    write("defaults: [mid.yaml]\nopt: {lr: 3}\n")
    assert resolve_config("exp.yaml", ["~opt.eps"]).data == {"opt": {"_type_": "sgd", "lr": 3}}


def test_type_changed_back_leaves_nothing_over(write: Callable[..., None]) -> None:
    write("opt: {_type_: adam, lr: 1}\n", "base.yaml")
    write("defaults: [base.yaml]\nopt: {_type_: sgd}\n")
    assert resolve_config("exp.yaml", ["opt._type_=adam"]).data["opt"]["lr"] == 1


@pytest.mark.parametrize("overrides", [["o.lr=3", "o._type_=b"], ["o._type_=b", "o.lr=3"]])
def test_overrides_of_one_command_line_belong_together(
    overrides: list[str], write: Callable[..., None]
) -> None:
    write("o: {_type_: a, lr: 1}\n")
    assert resolve_config("exp.yaml", overrides).data == {"o": {"_type_": "b", "lr": 3}}


def test_keys_of_a_section_are_not_left_over(write: Callable[..., None]) -> None:
    write("models: {m: {_type_: a, freeze: true}}\n", "base.yaml")
    write("defaults: [base.yaml]\nmodels: {m: {_type_: b}}\n")
    keys = {"trainer": {"freeze"}, "models.*": {"freeze"}}
    assert resolve_config("exp.yaml", section_keys=keys).data["models"]["m"]["freeze"] is True


def test_left_over_of_python_values_has_no_place(write: Callable[..., None], fail: Fail) -> None:
    write("defaults: []\n")
    text = fail({"opt": {"_type_": "adam", "lr": 1}}, "opt._type_=sgd")
    assert text.split("\n")[0] == (
        "<cli>:1:12: error: opt.lr: left over, where `_type_` was 'adam'"
    )
