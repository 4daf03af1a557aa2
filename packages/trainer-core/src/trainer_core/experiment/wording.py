"""Pydantic's findings in short English: what was expected, and what was found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

__all__ = ["expectation", "near_choices", "shown", "wrong_value"]

_TYPES = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "list_type": "a list",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_too_short": "a text that is not empty",
    "string_type": "a string",
    "tuple_type": "a list",
}
_PATTERNS = {
    "^(auto|cpu|mps|cuda(:[0-9]+)?)$": "'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'",
    r"^[^\x00-\x1f\x7f]*$": "a text without control characters",
}
_QUOTED = re.compile(r"'([^']+)'")


def expectation(error: ErrorDetails) -> str:
    """Return what one Pydantic error says was expected ("an integer")."""
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "greater_than_equal":
        return f"at least {context['ge']}"
    if kind == "less_than_equal":
        return f"at most {context['le']}"
    if kind == "greater_than":
        return f"more than {context['gt']:g}"
    if kind == "literal_error":
        return f"one of {str(context['expected']).replace(' or ', ', ')}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], str(context["pattern"]))
    return _TYPES.get(kind, str(error["msg"]).lower())


def wrong_value(errors: Sequence[ErrorDetails]) -> str:
    """Return the message for a value, given the errors of all branches of its type."""
    expected = list(dict.fromkeys(expectation(error) for error in errors))
    return f"expected {' or '.join(expected)}, found {shown(errors[0]['input'])}"


def near_choices(errors: Sequence[ErrorDetails]) -> tuple[str, ...]:
    """Return the choices that a text is spelt like, where a few are allowed."""
    value = errors[0]["input"]
    if not isinstance(value, str):
        return ()
    chosen = [e for e in errors if e["type"] in {"literal_error", "string_pattern_mismatch"}]
    choices = [name for error in chosen for name in _QUOTED.findall(expectation(error))]
    return nearest(value, choices)


def shown(value: Any) -> str:
    """Return a value as a message shows it: YAML's spelling for scalars, else what it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return str(value)
