"""Bounds in source (`Field(ge=0)`, `Gt(0)`) -> an annotated type that Pydantic checks."""

from __future__ import annotations

import ast
from typing import Annotated, Any

__all__ = ["constrained", "field_arguments"]

_BOUNDS = frozenset(
    {"allow_inf_nan", "ge", "gt", "le", "lt", "max_length", "min_length", "multiple_of", "pattern"}
)
_SHORT_FORMS = {
    "Ge": ("ge",),
    "Gt": ("gt",),
    "Le": ("le",),
    "Len": ("min_length", "max_length"),
    "Lt": ("lt",),
    "MaxLen": ("max_length",),
    "MinLen": ("min_length",),
    "MultipleOf": ("multiple_of",),
}


def constrained(annotation: Any, metadata: list[ast.expr]) -> Any:
    """Return `Annotated[annotation, Field(...)]` with the bounds found in the metadata.

    Metadata that is no bound is left out; without any the annotation itself is returned.
    """
    bounds: dict[str, Any] = {}
    for expression in metadata:
        if isinstance(expression, ast.Call):
            bounds |= _bounds(expression)
    if not bounds or annotation is Any:
        return annotation
    from pydantic import Field  # noqa: PLC0415 - costs 100 ms and few components have bounds

    return Annotated[annotation, Field(**bounds)]


def field_arguments(call: ast.Call) -> dict[str, ast.expr]:
    """Return the arguments of `Field(...)` or `field(...)` by name; a first one is the default."""
    arguments = {k.arg: k.value for k in call.keywords if k.arg}
    if call.args:
        arguments.setdefault("default", call.args[0])
    return arguments


def _bounds(call: ast.Call) -> dict[str, Any]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    arguments = {k.arg: k.value for k in call.keywords if k.arg in _BOUNDS}
    arguments |= dict(zip(_SHORT_FORMS.get(name, ()), call.args, strict=False))
    if name not in {"Field", "Interval", "StringConstraints", *_SHORT_FORMS}:
        return {}
    found: dict[str, Any] = {}
    for key, value in arguments.items():
        try:
            found[str(key)] = ast.literal_eval(value)
        except ValueError:
            continue
    return {key: value for key, value in found.items() if value is not None}
