from __future__ import annotations

from policy_constructor.config import Mark, Node, Source, dotted, to_plain


def tree() -> Node:
    return Node({"a": Node([Node(1), Node({"b": Node("x")})]), "c": Node(None)})


def test_child_follows_keys_and_positions() -> None:
    found = tree().child("a", 1, "b")
    assert found is not None
    assert found.value == "x"


def test_child_of_a_wrong_path_is_none() -> None:
    wrong = [("z",), ("a", 5), ("a", -1), ("a", "0"), ("c", "d")]
    assert [tree().child(*path) for path in wrong] == [None] * 5


def test_items_of_a_scalar_are_none() -> None:
    assert list(Node(3).items()) == []


def test_kinds_are_told_apart() -> None:
    root = tree()
    assert root.is_mapping
    assert root.value["a"].is_list


def test_plain_data_has_the_same_shape() -> None:
    assert to_plain(tree()) == {"a": [1, {"b": "x"}], "c": None}


def test_path_is_written_with_dots() -> None:
    assert dotted(("a", 0, "b")) == "a.0.b"


def test_location_has_its_line_and_include_chain() -> None:
    outer = Source("exp.yaml", ["defaults: [base.yaml]"])
    inner = Source("base.yaml", ["a: 1", "b: two"], included_from=Mark(outer, 1, 12))
    place = Mark(inner, 2, 4, 2, 7).to_location()
    assert (str(place), place.text, place.end_column) == ("base.yaml:2:4", "b: two", 7)
    assert [str(outer) for outer in place.included_from] == ["exp.yaml:1:12"]


def test_location_of_several_lines_ends_with_the_first() -> None:
    place = Mark(Source("a", ["x: |", "  y"]), 1, 4, 2, 3).to_location()
    assert place.end_column == 5


def test_very_long_line_is_not_shown() -> None:
    assert Mark(Source("a", ["x" * 501]), 1, 2).to_location().text == ""


def test_location_outside_of_the_text_has_no_line() -> None:
    assert Mark(Source("a"), 7, 1).to_location().text == ""
