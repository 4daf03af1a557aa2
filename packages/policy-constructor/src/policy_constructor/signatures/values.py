"""Does a value of a YAML file fit an annotation? And if not: where, and in which words?

Values are compared as Pydantic's strict JSON mode compares them: a list is a tuple or a set, an
integer is a number, `true` is no integer and "3" is no number. Pydantic itself is asked only about
types with bounds; for all others its rules are spelled out here, which needs no import of it and
tells the exact place of the mistake inside a list or mapping.
"""

from __future__ import annotations

import collections.abc
import json
import types
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from policy_constructor.config.node import to_plain
from policy_constructor.signatures.annotations import Opaque
from policy_constructor.signatures.constraints import Bounds
from policy_constructor.signatures.value_words import describe, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from policy_constructor.config.node import Node, Path

__all__ = ["Mismatch", "find_mismatch", "is_partly_known", "is_spec"]
_SCALARS: dict[Any, set[type]] = {
    None: {type(None)},
    bool: {bool},
    float: {float, int},
    int: {int},
    str: {str},
    type(None): {type(None)},
    FilePath: {str},
}


class Mismatch(NamedTuple):
    """A value that does not fit.

    Attributes:
        path: Where it is.
        node: The value.
        annotation: What it should be.
    """

    path: Path
    node: Node
    annotation: Any

    @property
    def message(self) -> str:
        """What was expected and what was found."""
        return f"expected {describe(self.annotation)}, found {shown(self.node)}"


def is_spec(node: Node) -> bool:
    """Whether a node describes a component: a mapping with `_type_` or `_target_`."""
    return node.is_mapping and ("_type_" in node.value or "_target_" in node.value)


def find_mismatch(
    annotation: Any, node: Node, path: Path, unchecked: Callable[[Node], bool] | None = None
) -> Mismatch | None:
    """Return the innermost value below a node that does not fit its annotation, or None.

    Args:
        annotation: A typing object; `Any` fits everything, a subclass of `Opaque` and a callable
            fit a component only.
        node: The value. Poisoned values fit everything.
        path: Where the value is.
        unchecked: Tells values, such as references in a graph, whose type is not known.
    """
    if annotation is Any or node.poisoned or (unchecked is not None and unchecked(node)):
        return None
    origin = get_origin(annotation)
    if origin in {Union, types.UnionType}:
        return _against_union(annotation, node, path, unchecked)
    if origin is Annotated:
        return _against_bounds(annotation, node, path, unchecked)
    if origin in {list, set, frozenset, tuple, dict}:
        return _against_container(annotation, node, path, unchecked)
    return None if _fits(annotation, origin, node) else Mismatch(path, node, annotation)


def _against_union(
    annotation: Any, node: Node, path: Path, unchecked: Callable[[Node], bool] | None
) -> Mismatch | None:
    """Compare with each member; inside a list or mapping point at the one member that is one."""
    found = [find_mismatch(member, node, path, unchecked) for member in get_args(annotation)]
    inner = [mismatch for mismatch in found if mismatch is not None]
    if len(inner) < len(found):
        return None
    deeper = [mismatch for mismatch in inner if mismatch.path != path]
    return deeper[0] if len(deeper) == 1 else Mismatch(path, node, annotation)


def _against_bounds(
    annotation: Any, node: Node, path: Path, unchecked: Callable[[Node], bool] | None
) -> Mismatch | None:
    """Compare with the type first, then with the bounds."""
    mismatch = find_mismatch(get_args(annotation)[0], node, path, unchecked)
    if mismatch is not None:
        return mismatch if mismatch.path != path else Mismatch(path, node, annotation)
    if is_partly_known(node, unchecked) or _is_inside(annotation, node):
        return None
    return Mismatch(path, node, annotation)


def _is_inside(annotation: Any, node: Node) -> bool:
    """Whether a value keeps the bounds; those of an author's model are Pydantic's to judge."""
    metadata = annotation.__metadata__
    if all(isinstance(item, Bounds) for item in metadata):
        plain = to_plain(node)
        return all(bounds.allows(plain) for bounds in metadata)
    return _pydantic_accepts(annotation, node)


def _against_container(
    annotation: Any, node: Node, path: Path, unchecked: Callable[[Node], bool] | None
) -> Mismatch | None:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        if is_spec(node):
            return None
        fits, members = node.is_mapping, [arguments[1]] * len(list(node.items()))
    elif origin is tuple and arguments[-1:] != (Ellipsis,):
        fits = node.is_list and len(node.value) == len(arguments)
        members = list(arguments)
    else:
        fits, members = node.is_list, [arguments[0]] * len(list(node.items()))
    if not fits:
        return Mismatch(path, node, annotation)
    for (key, child), member in zip(node.items(), members, strict=True):
        mismatch = find_mismatch(member, child, (*path, key), unchecked)
        if mismatch is not None:
            return mismatch
    return None


def _fits(annotation: Any, origin: Any, node: Node) -> bool:
    """Compare a value with a type that has no members to look into."""
    value = node.value
    if annotation in _SCALARS:
        return type(value) in _SCALARS[annotation] and value == value  # noqa: PLR0124 - not NaN
    if origin is Literal:
        return any(type(value) is type(c) and value == c for c in get_args(annotation))
    if collections.abc.Callable in {annotation, origin} or _is_opaque(annotation):
        return is_spec(node)
    return is_spec(node) or _pydantic_accepts(annotation, node)


def _is_opaque(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Opaque)


def _pydantic_accepts(annotation: Any, node: Node) -> bool:
    import pydantic  # noqa: PLC0415 - costs 100 ms and few parameters have bounds

    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.PydanticSchemaGenerationError:
        return True
    try:
        adapter.validate_json(_json(node), strict=True)
    except pydantic.ValidationError:
        return False
    return True


def is_partly_known(node: Node, unchecked: Callable[[Node], bool] | None) -> bool:
    """Whether some value below is a component, poisoned, or not checked."""
    if node.poisoned or is_spec(node) or (unchecked is not None and unchecked(node)):
        return True
    return any(is_partly_known(child, unchecked) for _, child in node.items())


def _json(node: Node) -> str:
    return json.dumps(to_plain(node), default=str)
