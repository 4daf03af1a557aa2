"""What a block's forward, an op or a nested graph can be called with, read from source."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_constructor.source.static import class_attribute, find_attribute
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from policy_constructor.graph.calls import CallDecl
    from policy_constructor.graph.reporting import Reporter

__all__ = ["CallSignature", "check_call", "read_forward", "read_function"]


@dataclass(frozen=True, slots=True)
class CallSignature:
    """The arguments of a call.

    Attributes:
        positional: Arguments that may be given by position, in order.
        named: Arguments that may be given by name.
        required: Arguments without a default.
        any_positional: Whether there is `*args`.
        any_keyword: Whether there is `**kwargs`.
    """

    positional: tuple[str, ...]
    named: tuple[str, ...]
    required: frozenset[str]
    any_positional: bool = False
    any_keyword: bool = False


def read_forward(target: str) -> CallSignature | None:
    """Return the signature of a class's forward; None where there is no readable one."""
    module, _, attr = target.partition(":")
    found = find_attribute(module, attr)
    if found is None or not isinstance(found.node, ast.ClassDef):
        return None
    forward = class_attribute(found, "forward")
    node = forward.node if forward else None
    return _read(node, skip_first=True) if isinstance(node, ast.FunctionDef) else None


def read_function(target: str) -> CallSignature | None:
    """Return the signature of a function; None for one that is written in C."""
    module, _, attr = target.partition(":")
    found = find_attribute(module, attr)
    node = found.node if found else None
    return _read(node, skip_first=False) if isinstance(node, ast.FunctionDef) else None


def check_call(call: CallDecl, signature: CallSignature, owner: str, report: Reporter) -> None:
    """Record arguments of a call that its signature does not take or misses."""
    if not call.complete:
        return
    taken = set(signature.positional[: len(call.args)])
    if len(call.args) > len(signature.positional) and not signature.any_positional:
        most = len(signature.positional)
        message = f"{owner} takes {_count(most)} by position, found {len(call.args)}"
        report.error((*call.path, "args", most), message, code="call-arguments")
    meant: set[str] = set()
    for name in call.kwargs:
        near: tuple[str, ...] = ()
        if name in taken:
            message = f"{owner} gets {name!r} twice, by position and by name"
        elif name not in signature.named and not signature.any_keyword:
            message = f"{owner} has no argument {name!r}"
            near = nearest(name, signature.named)
            meant.update(near[:1])
        else:
            continue
        where = (*call.path, "kwargs", name)
        report.error(where, message, on="key", code="call-arguments", suggestions=near)
    given = taken | meant | set(call.kwargs)
    ordered = dict.fromkeys((*signature.positional, *signature.named))
    missing = [name for name in ordered if name in signature.required and name not in given]
    if missing:
        message = f"{owner} needs {', '.join(repr(name) for name in missing)}"
        report.error(call.path, message, code="call-arguments")


def _read(node: ast.FunctionDef, *, skip_first: bool) -> CallSignature | None:
    if any("overload" in ast.unparse(decorator) for decorator in node.decorator_list):
        return None
    spec = node.args
    positional = [*spec.posonlyargs, *spec.args]
    without_default = positional[: len(positional) - len(spec.defaults)]
    required = {argument.arg for argument in without_default[skip_first:]}
    required |= {
        argument.arg
        for argument, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
        if default is None
    }
    named = [argument.arg for argument in (*positional, *spec.kwonlyargs)]
    return CallSignature(
        positional=tuple(argument.arg for argument in positional[skip_first:]),
        named=tuple(named[max(skip_first, len(spec.posonlyargs)) :]),
        required=frozenset(required),
        any_positional=spec.vararg is not None,
        any_keyword=spec.kwarg is not None,
    )


def _count(number: int) -> str:
    return f"{number} argument" + ("" if number == 1 else "s")
