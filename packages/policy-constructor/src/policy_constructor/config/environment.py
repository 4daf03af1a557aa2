"""`${env:VAR}`: values from environment variables, as text or with a type."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["EnvironmentProblem", "read_environment"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class EnvironmentProblem(Exception):  # noqa: N818 - what the user did, not what we did
    """An `${env:...}` cannot be read.

    Attributes:
        code: The stable name of the mistake.
        name: What may be misspelt.
        candidates: What it may have meant.
    """

    def __init__(
        self, message: str, code: str, name: str = "", candidates: Collection[str] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.name = name
        self.candidates = candidates


def _to_int(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError
    return int(text, 0) if text[:2] in {"0x", "0o"} else int(text)


def _to_float(text: str) -> float:
    if "_" in text:
        raise ValueError
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _to_bool(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text.lower()]


def _to_json(text: str) -> Any:
    import json  # noqa: PLC0415 - rarely needed

    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


_TYPES: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (_to_int, "an integer"),
    "float": (_to_float, "a number"),
    "bool": (_to_bool, "true or false (also 1, 0, yes, no, on, off)"),
    "json": (_to_json, "JSON without repeated keys"),
}


def read_environment(text: str, expand: Callable[[str], str]) -> Any:
    """Return the value of what stands after `env:`, as in `int:WORKERS,4`.

    Text is taken as it is; only a typed value is trimmed. The value itself is never quoted in a
    message: it may be a secret.

    Args:
        text: `[type:]NAME[,default]`.
        expand: Resolves the references in a default, called only when the default is used.

    Raises:
        EnvironmentProblem: The variable is not set and has no default, or is not of its type.
    """
    head, comma, default = text.partition(",")
    kind, colon, name = head.partition(":")
    if not colon:
        kind, name = "", head
    kind, name = kind.strip(), name.strip()
    if colon and kind not in _TYPES:
        message = f"unknown type {kind!r} in an environment reference; known: {', '.join(_TYPES)}"
        raise EnvironmentProblem(message, "environment-type", kind, _TYPES)
    if not _NAME.fullmatch(name):
        message = f"{name!r} is not the name of an environment variable"
        raise EnvironmentProblem(message, "invalid-reference")
    found = os.environ.get(name)
    if found is None and not comma:
        message = f"the environment variable {name!r} is not set and has no default"
        raise EnvironmentProblem(message, "missing-environment", name, os.environ)
    value = expand(default) if found is None else found
    if not colon:
        return value
    convert, expected = _TYPES[kind]
    try:
        return convert(value.strip())
    except ValueError:
        what = f"the default of {name!r}" if found is None else f"environment variable {name!r}"
        message = f"expected {expected} in {what}"
        raise EnvironmentProblem(message, "environment-value") from None
