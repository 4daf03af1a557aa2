"""Bounds in source (`Field(ge=0)`, `Gt(0)`) -> an annotated type that values are held against."""

from __future__ import annotations

import ast
import operator
import re
from typing import Annotated, Any, NamedTuple

__all__ = ["Bounds", "constrained", "field_arguments"]

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
_COMPARISONS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


class Bounds(NamedTuple):
    """The bounds of one annotation; None where there is none.

    The names are those of Pydantic and annotated-types, and so is what they mean.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    allow_inf_nan: bool | None = None

    def allows(self, value: object) -> bool:
        """Whether a value of the right type is inside; bounds of other types do not count."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self._allows_number(value)
        if isinstance(value, (str, list, dict)):
            length = len(value)
            fits = (self.min_length or 0) <= length
            fits = fits and (self.max_length is None or length <= self.max_length)
            return fits and not (isinstance(value, str) and self._lacks_pattern(value))
        return True

    def _allows_number(self, value: float) -> bool:
        for name, compare in _COMPARISONS.items():
            bound = getattr(self, name)
            if bound is not None and not compare(value, bound):
                return False
        if self.allow_inf_nan is False and value in {float("inf"), float("-inf")}:
            return False
        return not self.multiple_of or value % self.multiple_of == 0

    def _lacks_pattern(self, value: str) -> bool:
        try:
            return self.pattern is not None and re.search(self.pattern, value) is None
        except re.error:  # Pydantic's expressions are Rust's, which differ here and there
            return False


def constrained(annotation: Any, metadata: list[ast.expr]) -> Any:
    """Return `Annotated[annotation, Bounds(...)]` with the bounds found in the metadata.

    Metadata that is no bound is left out; without any the annotation itself is returned.
    """
    found: dict[str, Any] = {}
    for expression in metadata:
        if isinstance(expression, ast.Call):
            found |= _bounds(expression)
    if not found or annotation is Any:
        return annotation
    return Annotated[annotation, Bounds(**found)]


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
