from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from policy_constructor.config import Node, Source, describe_source, resolve_config, to_yaml
from policy_constructor.config.memory import from_plain
from policy_constructor.config.parse import parse_text
from policy_constructor.config.references import split_text
from policy_constructor.config.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.text(alphabet="$${}a: -#'\"\n", max_size=8)
)
trees: Any = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8).filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=20,
)


def read_back(text: str) -> Any:
    """Parse dumped text and undo the escapes of references."""
    report = Report()
    root = parse_text(text, Source("dump"), report)
    assert report.problems == []
    assert root is not None

    def plain(node: Node) -> Any:
        value = node.value
        if isinstance(value, dict):
            return {key: plain(child) for key, child in value.items()}
        if isinstance(value, list):
            return [plain(child) for child in value]
        return "".join(split_text(value)) if isinstance(value, str) else value

    return plain(root)


@given(st.dictionaries(st.text(max_size=8), trees, max_size=5))
def test_dumped_tree_reads_back_equal(data: Any) -> None:
    found = read_back(to_yaml(from_plain(data, Report())))
    assert repr(found) == repr(data)


@given(st.dictionaries(st.text(max_size=8), trees, max_size=5))
def test_comments_do_not_change_what_is_read(data: Any) -> None:
    found = read_back(to_yaml(from_plain(data, Report()), sources=True))
    assert repr(found) == repr(data)


def test_tree_is_written_in_blocks_with_short_lists(write: Callable[..., None]) -> None:
    write(
        "a: {b: [1, x], c: []}\nd: [{e: 1, f: {g: 2}}, [3], [[{h: 1}]]]\nl: ['" + "y" * 90 + "']\n"
    )
    assert to_yaml(resolve_config("exp.yaml")) == (
        "a:\n"
        "  b: [1, x]\n"
        "  c: []\n"
        "d:\n"
        "  - e: 1\n"
        "    f:\n"
        "      g: 2\n"
        "  - [3]\n"
        "  -\n"
        "    -\n"
        "      - h: 1\n"
        "l:\n"
        f"  - {'y' * 90}\n"
    )


def test_empty_tree_is_an_empty_mapping() -> None:
    assert to_yaml(resolve_config({})) == "{}\n"


def test_sources_are_written_as_comments(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("W", "3")
    write("a: 256\nxs: [1]\n", "base.yaml")
    write(
        """\
        defaults: [base.yaml]
        a: 512
        b: ${a}
        c: ${env:int:W}
        d: x${a}
        e: &e 1
        f: *e
        g: ${c}
        xs: {_merge_: append, _value_: [2]}
        """
    )
    resolved = resolve_config("exp.yaml", ["e=2"])
    assert to_yaml(resolved, sources=True) == (
        "a: 512  # exp.yaml:2:4 (replaces 256 from base.yaml:1:4; referenced 2 times)\n"
        "xs:\n"
        "  - 1  # base.yaml:2:6\n"
        "  - 2  # exp.yaml:9:33\n"
        "b: 512  # exp.yaml:3:4 (${a} from exp.yaml:2:4)\n"
        "c: 3  # exp.yaml:4:4 (from '${env:int:W}'; referenced once)\n"
        "d: x512  # exp.yaml:5:4 (from 'x${a}')\n"
        "e: 2  # <cli>:1:3 (replaces 1 from exp.yaml:6:4)\n"
        "f: 1  # exp.yaml:7:4 (alias from exp.yaml:6:4)\n"
        "g: 3  # exp.yaml:8:4 (${c} from exp.yaml:4:4; from '${env:int:W}')\n"
    )


def test_values_from_python_are_described_so() -> None:
    resolved = resolve_config({"a": 1}, ["a=2"])
    assert describe_source(resolved.root.value["a"]) == "<cli>:1:3 (replaces 1)"
    assert describe_source(resolve_config({"a": 1}).root.value["a"]) == "set in Python"


def test_environment_is_written_back_as_expression(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret")
    monkeypatch.setenv("CFG", '{"k": ["secret"]}')
    write(
        """\
        key: ${env:KEY}
        again: ${key}
        url: http://${key}@host
        cfg: ${env:json:CFG}
        part: ${cfg.k.0}
        list: [a, '${env:KEY}']
        plain: ${list.0}
        """
    )
    resolved = resolve_config("exp.yaml")
    text = to_yaml(resolved, redact_env=True)
    assert "secret" not in text
    write(text, "saved.yaml")
    assert resolve_config("saved.yaml").data == resolved.data
    assert "secret" in to_yaml(resolved)


def test_replaced_secret_is_not_quoted(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret")
    write("key: ${env:KEY}\n")
    text = to_yaml(resolve_config("exp.yaml", ["key=mine"]), sources=True)
    assert text == "key: mine  # <cli>:1:5 (replaces '${env:KEY}' from exp.yaml:1:6)\n"


def test_part_of_a_tree_can_be_written(write: Callable[..., None]) -> None:
    write("a: {b: 1}\n")
    assert to_yaml(resolve_config("exp.yaml").root.value["a"]) == "b: 1\n"


def test_remarks_stand_at_the_end_of_their_mapping(write: Callable[..., None]) -> None:
    write("loss: {_type_: l2}\ncallbacks: [{_type_: ema}]\nseed: 0\n")
    resolved = resolve_config("exp.yaml")
    remarks = {("loss",): ["p: 2"], ("callbacks", 0): ["decay: 0.9"]}
    assert to_yaml(resolved, remarks=remarks) == (
        "loss:\n  _type_: l2\n  # p: 2\ncallbacks:\n  - _type_: ema\n    # decay: 0.9\nseed: 0\n"
    )
