"""Annotations -> JSON Schema: what one value of a file may be, references included."""

from __future__ import annotations

import collections.abc
import json
import types
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from policy_constructor.signatures.annotations import Opaque

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.signatures.parameters import Parameter

__all__ = [
    "MERGE",
    "REFERENCE",
    "SPEC",
    "JsonSchema",
    "any_of",
    "list_of",
    "mapping_of",
    "parameter_schema",
]

JsonSchema: TypeAlias = dict[str, Any]

REFERENCE: JsonSchema = {"$ref": "#/$defs/reference"}
"""A text with `${...}` in it: it may stand for any value."""

MERGE: JsonSchema = {"$ref": "#/$defs/merge"}
"""`{_merge_: ..., _value_: ...}`: how to combine a value with the one underneath."""

SPEC: JsonSchema = {"$ref": "#/$defs/component"}
"""A component inside another one's parameters."""

_SCALARS: dict[Any, str] = {
    None: "null",
    bool: "boolean",
    float: "number",
    int: "integer",
    str: "string",
    type(None): "null",
    Path: "string",
}
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}


def any_of(choices: Sequence[JsonSchema]) -> JsonSchema:
    """Return a schema that accepts what one of several does; `{}` accepts everything."""
    flat: list[JsonSchema] = []
    for choice in choices:
        members = choice["anyOf"] if choice.keys() == {"anyOf"} else [choice]
        flat += [member for member in members if member not in flat]
    if {} in flat:
        return {}
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def list_of(item: JsonSchema) -> JsonSchema:
    """Return the schema of a list, of a directive that merges one, or of a reference to one."""
    return any_of([{"type": "array", **({"items": item} if item else {})}, MERGE, REFERENCE])


def mapping_of(mapping: JsonSchema, *, is_nullable: bool = False) -> JsonSchema:
    """Return the schema of a mapping, of a directive that merges one, or of a reference to one.

    The cases are told apart first, so that an editor reports the wrong key, not all the cases.
    """
    other = any_of([REFERENCE, {"type": "null"}]) if is_nullable else REFERENCE
    directive = {"if": {"required": ["_value_"]}, "then": MERGE, "else": mapping}
    return {"if": {"type": "object"}, "then": directive, "else": other}


def parameter_schema(parameter: Parameter) -> JsonSchema:
    """Return the schema of a parameter with its meaning and its default."""
    schema = _value(parameter.annotation)
    if parameter.default_source == "None":
        schema = any_of([schema, {"type": "null"}])
    described = dict(schema)
    if parameter.doc:
        described["description"] = parameter.doc
    if not parameter.required and parameter.default is not None and _is_json(parameter.default):
        described["default"] = parameter.default
    return described


def _value(annotation: Any) -> JsonSchema:
    """Return what fits an annotation, or a reference to it; `{}` where that is not known."""
    schema = _plain(annotation)
    return any_of([schema, REFERENCE]) if schema else {}


def _plain(annotation: Any) -> JsonSchema:
    if annotation in _SCALARS:
        return {"type": _SCALARS[annotation]}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return any_of([_plain(member) for member in arguments])
    if origin is Annotated:
        return _bounded(_plain(arguments[0]), annotation.__metadata__)
    if origin in {Literal, list, set, frozenset, tuple, dict}:
        return _with_members(origin, arguments)
    is_opaque = isinstance(annotation, type) and issubclass(annotation, Opaque)
    is_callable = collections.abc.Callable in {annotation, origin}
    return SPEC if is_opaque or is_callable else {}


def _with_members(origin: Any, arguments: tuple[Any, ...]) -> JsonSchema:
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is dict:
        return any_of([{"type": "object", "additionalProperties": _value(arguments[1])}, SPEC])
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        count = len(arguments)
        items = [_value(member) for member in arguments]
        fixed = {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}
        return any_of([fixed, MERGE])
    return any_of([{"type": "array", "items": _value(arguments[0])}, MERGE])


def _bounded(schema: JsonSchema, metadata: tuple[Any, ...]) -> JsonSchema:
    """Add the bounds of an annotation to a type; to a union they are not added."""
    kind = schema.get("type")
    if kind is None:
        return schema
    bounded = dict(schema)
    for info in metadata:
        for constraint in getattr(info, "metadata", None) or (info,):
            for name, keyword in _BOUNDS.items():
                bound = getattr(constraint, name, None)
                if bound is not None:
                    bounded[keyword] = bound
            if kind == "string" and getattr(constraint, "min_length", None) is not None:
                bounded["minLength"] = constraint.min_length
    return bounded


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
