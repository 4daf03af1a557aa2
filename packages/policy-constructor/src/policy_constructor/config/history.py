"""The history of one value: what it replaced, what brought it, what refers to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_constructor.config.node import Node, dotted
from policy_constructor.config.paths import parse_path, step_into
from policy_constructor.config.references import Reference, split_text
from policy_constructor.config.resolved import definition_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.config.node import Path
    from policy_constructor.config.resolved import ResolvedConfig

__all__ = ["History", "Place", "find_path", "history_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """A value and the keys that lead to it."""

    path: Path
    node: Node


@dataclass(frozen=True, slots=True)
class History:
    """What happened to one value.

    Attributes:
        path: Its keys.
        node: The value, with where it was written and what it replaced.
        definition: The value that references lead to; the node itself without any.
        through: The values on the way whose reference or alias led on, the outermost first.
        users: The values whose text refers to this one.
    """

    path: Path
    node: Node
    definition: Node
    through: tuple[Place, ...]
    users: tuple[Place, ...]


def find_path(root: Node, keys: Path) -> Path | None:
    """Return the path that dotted keys mean, or None if there is no such value.

    A key with dots in it (`observation.state`) needs no quotes.
    """
    path: Path = ()
    node, position = root, 0
    while position < len(keys):
        step = step_into(node, keys, position)
        if step is None:
            return None
        node, position, path = step.node, step.position, (*path, step.key)
    return path


def history_of(resolved: ResolvedConfig, path: Path) -> History | None:
    """Return the history of the value at a path, or None if there is none."""
    node = resolved.node(*path)
    if node is None:
        return None
    through: list[Place] = []
    for length in range(1, len(path) + 1):
        here = resolved.node(*path[:length])
        while here is not None and isinstance(here.via, Node) and here.via.value is here.value:
            through.append(Place(path[:length], here))
            here = here.via
    users = tuple(_users(resolved.root, (), dotted(path)))
    return History(path, node, definition_of(node), tuple(through), users)


def _users(node: Node, path: Path, wanted: str) -> Iterator[Place]:
    """Yield the values below a node whose text refers to a dotted path."""
    if node.expression is not None and wanted in _references(node.expression):
        yield Place(path, node)
    if definition_of(node) is node:
        for key, child in node.items():
            yield from _users(child, (*path, key), wanted)


def _references(expression: str) -> set[str]:
    """Return the dotted paths that a text refers to."""
    found = (part for part in split_text(expression) if isinstance(part, Reference))
    names = (part.strip() for part in found)
    return {dotted(parse_path(name)) for name in names if not name.startswith("env:")}
