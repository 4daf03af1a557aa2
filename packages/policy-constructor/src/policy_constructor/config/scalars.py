"""Scalars of the YAML 1.2 core schema: text to value, value to text."""

from __future__ import annotations

import re
from math import isinf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policy_constructor.config.node import Node, Scalar

__all__ = ["format_scalar", "format_text", "kind_of", "parse_scalar", "show"]

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{f"{sign}.{word}": float(f"{sign}inf") for sign in "+-" for word in ("inf", "Inf", "INF")},
    **dict.fromkeys((".inf", ".Inf", ".INF"), float("inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_FIRST_OF_NUMBER = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_PREFIXED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_PLAIN = re.compile(r"[A-Za-z_/$][\w./$+()@^*=;%-]*(?: [\w./$+()@^*=;%-]+)*", re.ASCII)
_UNPRINTABLE = re.compile(
    '[\x00-\x1f"\\\\\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]|[\U0001fffe\U0001ffff]'
)
_SHORT = {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_SHOWN = 40


def parse_scalar(text: str) -> Scalar:
    """Return the value of a plain scalar; what is nothing else is text.

    Raises:
        ValueError: An integer has more digits than Python converts, or a number with a fraction
            or an exponent is too large for a float; the message says which.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST_OF_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return _to_integer(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if isinf(value):
            message = "the number is too large; write .inf for infinity"
            raise ValueError(message)
        return value
    if _PREFIXED.fullmatch(text):
        return _to_integer(text, 0)
    return text


def _to_integer(text: str, base: int = 10) -> int:
    try:
        number = int(text, base)
        str(number)  # no number that could not be shown; the limit holds for decimal digits only
    except ValueError as error:
        message = "the integer has too many digits"
        raise ValueError(message) from error
    return number


def format_scalar(value: Scalar) -> str:
    """Return the scalar as it is put into text and written to YAML, text without quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return f"{text[:-3]}.{text[-3:]}" if text[-3:] in {"inf", "nan"} else text
    return str(value)


def format_text(text: str) -> str:
    """Return text as a YAML scalar that reads back equal, quoted only where it must be."""
    if _PLAIN.fullmatch(text) and isinstance(parse_scalar(text), str):
        return text
    return f'"{_UNPRINTABLE.sub(_escaped, text)}"'


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def kind_of(value: Any) -> str:
    """Return what a value is, for messages: `a mapping`, `an integer`, ..."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    return "a number" if isinstance(value, float) else "text"


def show(node: Node) -> str:
    """Return a value as messages show it: scalars shortened, containers by their kind."""
    if node.from_env and node.expression:
        return node.expression
    value = node.value
    if isinstance(value, str):
        text = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 3]}..."
        return repr(text)
    return kind_of(value) if isinstance(value, (dict, list)) else format_scalar(value)[:_SHOWN]
