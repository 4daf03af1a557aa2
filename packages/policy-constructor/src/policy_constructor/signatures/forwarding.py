"""What a constructor does with its `**kwargs`: hand them on to its base, or something else."""

from __future__ import annotations

import ast
from typing import NamedTuple

__all__ = ["Forwarding", "forwarding"]


class Forwarding(NamedTuple):
    """Where `**kwargs` go.

    Attributes:
        to: Expression of the base whose `__init__` gets them; empty for `super()`, None for nobody.
        positional: Positional arguments that the call passes itself.
        keywords: Names that the call passes itself.
        star: Whether the call hands `*args` on as well.
        popped: Names that the body takes out of them.
        escapes: Whether they are used in some other way, so that any name may be legal.
    """

    to: str | None = None
    positional: int = 0
    keywords: frozenset[str] = frozenset()
    star: bool = False
    popped: tuple[str, ...] = ()
    escapes: bool = False


def forwarding(function: ast.FunctionDef) -> Forwarding:
    """Return what a constructor does with its `**kwargs`."""
    name = function.args.kwarg.arg if function.args.kwarg else ""
    found = Forwarding()
    understood: set[ast.AST] = set()
    popped: list[str] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _unpacks(node, name) and _is_constructor(node.func):
            found = _of_call(node)
            understood |= {k.value for k in node.keywords if k.arg is None}
        elif (key := _taken_key(node, name)) is not None:
            popped.append(key)
            understood |= set(ast.walk(node))
    uses = [n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == name]
    escapes = any(use not in understood for use in uses)
    return found._replace(popped=tuple(dict.fromkeys(popped)), escapes=escapes)


def _unpacks(call: ast.Call, name: str) -> bool:
    return any(
        k.arg is None and isinstance(k.value, ast.Name) and k.value.id == name
        for k in call.keywords
    )


def _is_constructor(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in {"__init__", "__new__"}


def _of_call(call: ast.Call) -> Forwarding:
    """Read `super().__init__(a, *args, b=c, **kwargs)` or `Base.__init__(self, ...)`."""
    owner = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    is_super = isinstance(owner, ast.Call)
    plain = [a for a in call.args if not isinstance(a, ast.Starred)]
    return Forwarding(
        to="" if is_super else ast.unparse(owner),
        positional=len(plain) - (0 if is_super else 1),
        keywords=frozenset(k.arg for k in call.keywords if k.arg),
        star=len(plain) < len(call.args),
    )


def _taken_key(node: ast.AST, name: str) -> str | None:
    """Return "x" for `kwargs.pop("x", ...)`, `kwargs.get("x")` and `kwargs["x"]`."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=owner), attr="pop" | "get"),
            args=[ast.Constant(value=str(key)), *_],
        ) if owner == name:
            return key
        case ast.Subscript(value=ast.Name(id=owner), slice=ast.Constant(value=str(key))) if (
            owner == name
        ):
            return key
        case ast.Compare(left=ast.Constant(value=str(key)), comparators=[ast.Name(id=owner)]) if (
            owner == name
        ):
            return key
    return None
