"""Annotations and values in the words of a message."""

from __future__ import annotations

import json
import types
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from policy_constructor.config.node import to_plain

if TYPE_CHECKING:
    from policy_constructor.config.node import Node

__all__ = ["describe", "shown", "type_text"]

_LONGEST_SHOWN = 60
_WORDS = {
    bool: ("true or false", "booleans"),
    float: ("a number", "numbers"),
    int: ("an integer", "integers"),
    str: ("a string", "strings"),
    FilePath: ("a path", "paths"),
    type(None): ("null", "nulls"),
}
_SIGNS = {
    "ge": ">=",
    "gt": ">",
    "le": "<=",
    "lt": "<",
    "max_length": "with length <=",
    "min_length": "with length >=",
    "multiple_of": "divisible by",
    "pattern": "that matches",
}


def describe(annotation: Any) -> str:
    """Return an annotation in words: `a list of 2 integers or null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    words = _WORDS.get(annotation, ("a component",))[0]
    if origin in {Union, types.UnionType}:
        words = _describe_union(list(arguments))
    elif origin is Literal:
        choices = ", ".join(_scalar_text(choice) for choice in arguments)
        words = f"one of {choices}" if len(arguments) > 1 else choices
    elif origin is Annotated:
        words = " ".join([describe(arguments[0]), *_bounds(annotation)])
    elif origin is dict:
        words = "a mapping"
    elif origin is tuple and arguments[-1:] != (Ellipsis,):
        item = arguments[0] if len(set(arguments)) == 1 else Any
        words = _describe_list(f"{len(arguments)} ", item)
    elif origin in {list, set, frozenset, tuple}:
        words = _describe_list("", arguments[0])
    return words


def shown(node: Node) -> str:
    """Return a value as a message names it; long ones are cut."""
    if node.is_mapping:
        kind = node.value.get("_type_") or node.value.get("_target_")
        return f"the component {kind.value!r}" if kind is not None else "a mapping"
    if node.is_list:
        text = json.dumps(to_plain(node), default=str)
        return text if len(text) <= _LONGEST_SHOWN else f"a list of {len(node.value)} values"
    return _scalar_text(node.value)


def type_text(annotation: Any) -> str:
    """Return an annotation as one writes it, `list[int] | None`; empty for `Any`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    text = {Any: "", Ellipsis: "...", type(None): "None"}.get(annotation)
    if text is None:
        text = str(getattr(annotation, "__name__", annotation))
    if origin in {Union, types.UnionType}:
        text = " | ".join(type_text(argument) for argument in arguments)
    elif origin is Annotated:
        text = type_text(arguments[0])
    elif origin is Literal:
        text = f"Literal[{', '.join(map(repr, arguments))}]"
    elif isinstance(origin, type) and arguments:
        text = f"{origin.__name__}[{', '.join(type_text(a) or 'Any' for a in arguments)}]"
    return text


def _describe_union(members: list[Any]) -> str:
    """Name the members; a component only if there is nothing else to write."""
    words = [describe(m) for m in members if m is not type(None)]
    plain = [word for word in words if word != "a component"] or words
    if type(None) in members:
        plain.append("null")
    distinct = list(dict.fromkeys(plain))
    return " or ".join([", ".join(distinct[:-1]), distinct[-1]] if distinct[:-1] else distinct)


def _describe_list(count: str, item: Any) -> str:
    if item in _WORDS:
        return f"a list of {count}{_WORDS[item][1]}"
    return f"a list of {count}values" if count else "a list"


def _bounds(annotation: Any) -> list[str]:
    found = [
        f"{sign} {getattr(constraint, name)}"
        for field in annotation.__metadata__
        for constraint in getattr(field, "metadata", (field,))
        for name, sign in _SIGNS.items()
        if getattr(constraint, name, None) is not None
    ]
    return [" and ".join(found)] if found else []


def _scalar_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...'"
