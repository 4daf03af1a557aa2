"""One call of a graph as the file writes it: a node of `nodes`, or an item of `steps`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from policy_constructor.graph.ir import Ref
from policy_constructor.graph.names import name_problem, parse_reference
from policy_constructor.graph.reporting import describe

if TYPE_CHECKING:
    from policy_constructor.config.node import Node, Path
    from policy_constructor.graph.ir import Out
    from policy_constructor.graph.reporting import Reporter

__all__ = ["CallDecl", "RefUse", "ValueName", "read_call"]

_CALL_KEYS = ("call", "args", "kwargs", "out")


@dataclass(slots=True)
class RefUse:
    """A reference and the path where it stands."""

    name: str
    path: Path


@dataclass(slots=True)
class ValueName:
    """A name that is given to a value, and the path where that is done."""

    name: str
    path: Path


@dataclass(slots=True)
class CallDecl:
    """A call before its names are looked up.

    Attributes:
        name: Name of the node; for a step its first out.
        path: Path of the call.
        node: The call's node.
        kind: `module`, `op`, or None where `call` is unusable.
        callee: Name of the module or key of the op.
        args: Positional arguments with `Ref`s inside.
        kwargs: Keyword arguments with `Ref`s inside.
        out: What the result is called.
        outs: Every name that `out` gives.
        refs: Every reference in the arguments.
        complete: Whether all arguments could be read.
    """

    name: str
    path: Path
    node: Node
    kind: Literal["module", "op"] | None = None
    callee: str = ""
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    out: Out = ""
    outs: list[ValueName] = field(default_factory=list)
    refs: list[RefUse] = field(default_factory=list)
    complete: bool = True


def read_call(node: Node, path: Path, name: str | None, report: Reporter) -> CallDecl | None:
    """Read a call.

    Args:
        node: The mapping.
        path: Its path.
        name: Name of the node where the mapping of `nodes` gives it; None to read `name` of a
            list item; empty for a step, which has none.
        report: Receives the problems.
    """
    what = "a step" if name == "" else "a node"
    mapping = report.expect_mapping(node, path, what)
    if mapping is None:
        return None
    keys = ("name", *_CALL_KEYS) if name is None else _CALL_KEYS
    report.expect_keys(mapping, path, keys, what)
    if name is None:
        name = _read_name(node, path, report)
    call = CallDecl(name, path, node)
    _read_callee(call, mapping, what, report)
    _read_arguments(call, mapping, report)
    _read_out(call, mapping, what, report)
    return call


def _read_name(node: Node, path: Path, report: Reporter) -> str:
    found = node.child("name")
    if found is None:
        report.error(path, "a node of a list needs 'name'", code="missing-key")
        return ""
    if not isinstance(found.value, str):
        report.error((*path, "name"), "a node's name must be text", code="wrong-type")
        return ""
    return found.value


def _read_callee(call: CallDecl, mapping: dict[str, Node], what: str, report: Reporter) -> None:
    node = mapping.get("call")
    expected = "module:<name> or op:<name>"
    if node is None:
        report.error(call.path, f"{what} needs 'call'", code="missing-key", expected=expected)
        return
    if node.poisoned:
        return
    kind, colon, callee = str(node.value).partition(":")
    if kind in {"module", "op"} and colon and callee:
        call.kind = "module" if kind == "module" else "op"
        call.callee = callee
        return
    message = f"'call' must say what is called, found {describe(node.value)}"
    report.error((*call.path, "call"), message, code="wrong-type", expected=expected)


def _read_arguments(call: CallDecl, mapping: dict[str, Node], report: Reporter) -> None:
    args = mapping.get("args")
    if args is not None and args.value is not None:
        path = (*call.path, "args")
        items = report.expect_list(args, path, "'args'") or []
        call.args = [_value(item, (*path, i), call, report) for i, item in enumerate(items)]
        call.complete &= args.is_list
    kwargs = mapping.get("kwargs")
    if kwargs is not None and kwargs.value is not None:
        path = (*call.path, "kwargs")
        call.complete &= kwargs.is_mapping
        for key, item in (report.expect_mapping(kwargs, path, "'kwargs'") or {}).items():
            problem = name_problem(key, "keyword")
            if problem:
                report.error((*path, key), problem, on="key", code="name")
                call.complete = False
                continue
            call.kwargs[key] = _value(item, (*path, key), call, report)


def _value(node: Node, path: Path, call: CallDecl, report: Reporter) -> Any:
    """Return a literal or a reference, or a list or mapping of them."""
    value = node.value
    if node.poisoned:
        call.complete = False
        return None
    if isinstance(value, dict):
        return {key: _value(item, (*path, key), call, report) for key, item in value.items()}
    if isinstance(value, list):
        return [_value(item, (*path, index), call, report) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    parsed = parse_reference(value)
    if parsed is None:
        message = f"{value!r} is no reference; write $name, or $$ for a dollar sign"
        report.error(path, message, code="reference")
        call.complete = False
    elif isinstance(parsed, Ref):
        call.refs.append(RefUse(parsed.name, path))
    return parsed


def _read_out(call: CallDecl, mapping: dict[str, Node], what: str, report: Reporter) -> None:
    """Read `out`: a name, a list of names, or a mapping from a key of the result to a name."""
    node = mapping.get("out")
    path = (*call.path, "out")
    if node is None or node.value is None:
        if what == "a step":
            report.error(
                call.path, "a step needs 'out', the name of its result", code="missing-key"
            )
        elif call.name:
            in_list = "name" in mapping
            call.outs = [ValueName(call.name, (*call.path, "name") if in_list else call.path)]
        call.out = call.name
        return
    if isinstance(node.value, dict):
        call.outs = _names(list(node.value.items()), path, report)
        call.out = {str(key): name.name for key, name in zip(node.value, call.outs, strict=False)}
    elif isinstance(node.value, list):
        call.outs = _names(list(enumerate(node.value)), path, report)
        call.out = tuple(name.name for name in call.outs)
    else:
        call.outs = _names([((), node)], path, report)
        call.out = call.outs[0].name if call.outs else ""
    if not call.name and call.outs:
        call.name = call.outs[0].name


def _names(items: list[tuple[Any, Node]], path: Path, report: Reporter) -> list[ValueName]:
    names: list[ValueName] = []
    for key, item in items:
        where = path if key == () else (*path, key)
        if isinstance(item.value, str):
            names.append(ValueName(item.value, where))
        elif not item.poisoned:
            report.error(
                where, f"'out' gives names, found {describe(item.value)}", code="wrong-type"
            )
    if not items:
        report.error(path, "'out' gives no name", code="wrong-type")
    return names
