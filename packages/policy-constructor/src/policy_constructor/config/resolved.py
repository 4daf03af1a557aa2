"""The resolved tree, and problems placed in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from policy_constructor.config.node import Node, Path, Source, dotted, to_plain
from policy_constructor.config.scalars import show
from policy_constructor.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.config.node import Key, Mark

__all__ = ["ResolvedConfig", "definition_of", "walk"]


def definition_of(node: Node) -> Node:
    """Return the node that a whole-value reference or alias leads to, or the node itself."""
    while isinstance(node.via, Node) and node.via.value is node.value:
        node = node.via
    return node


@dataclass
class ResolvedConfig:
    """A configuration with its history.

    Attributes:
        root: The tree; treat its nodes as read-only, several places may share one.
        problems: What is wrong with it; later checks append theirs.
        sources: What it was read from, the file named first before those it includes.
        incomplete: A file could not be read, so a key that seems to be missing may be in it.
    """

    root: Node
    problems: list[Problem] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    incomplete: bool = False

    @cached_property
    def data(self) -> Any:
        """The plain dicts, lists and scalars; None where a value is poisoned."""
        return to_plain(self.root)

    def node(self, *path: Key) -> Node | None:
        """Return the node at a path, or None."""
        return self.root.child(*path)

    def problem(
        self,
        path: Path,
        message: str,
        *,
        on: Literal["value", "key"] = "value",
        code: str = "invalid",
        expected: str = "",
        suggestions: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> Problem:
        """Return a problem at a path, with its place and history filled in.

        A value that a reference brought is reported where it is defined, with a note about who
        uses it. A path that does not exist is reported at the mapping in which it is missing.

        Args:
            path: The keys from the root.
            message: What is wrong.
            on: Point at the value, or at the key it is written under.
            code: The stable name of the mistake.
            expected: What would have been right.
            suggestions: Nearest right spellings.
            notes: Further lines, before those of the history.
        """
        trail = self._trail(path)
        exists = len(trail) == len(path) + 1
        node, shown, used = self._definition(path, trail, key_itself=exists and on == "key")
        history = (*used, *_history(node)) if exists else used
        mark = _place(node, on if exists else "value")
        if mark is None:  # built by a reference or in Python: the nearest ancestor with a place
            marks = (_place(ancestor, "value") for ancestor in reversed(trail))
            mark = next((found for found in marks if found), None)
        return Problem(
            message,
            path=dotted(shown),
            location=mark.to_location() if mark else None,
            code=code,
            expected=expected,
            suggestions=suggestions,
            notes=(*notes, *history),
        )

    def _trail(self, path: Path) -> list[Node]:
        """Return the nodes from the root along a path, as far as it exists."""
        trail = [self.root]
        for key in path:
            child = trail[-1].child(key)
            if child is None:
                break
            trail.append(child)
        return trail

    def _definition(
        self, path: Path, trail: list[Node], *, key_itself: bool
    ) -> tuple[Node, Path, tuple[str, ...]]:
        """Return where a value is defined: its node and path, and a note about its uses.

        Args:
            path: Where it is used.
            trail: The nodes along this path, as far as it exists.
            key_itself: Whether the last key is meant, which stands where it is written even if
                its value comes from elsewhere.
        """
        node = trail[-1] if key_itself else definition_of(trail[-1])
        for depth in range(len(trail) - 1 - key_itself, 0, -1):
            defined = definition_of(trail[depth])
            if defined is not trail[depth] or defined.uses:
                start = self._path_of(defined)
                shown = path if start is None else (*start, *path[depth:])
                return node, shown, self._users(defined, path[depth:])
        return node, path, _template_note(path, trail)

    def _path_of(self, wanted: Node) -> Path | None:
        """Return the path of a node that is not reached through a reference."""
        nodes = walk(self.root, ())
        return next((path for path, node in nodes if node is wanted), None)

    def _users(self, defined: Node, rest: Path) -> tuple[str, ...]:
        users = [
            (path, node)
            for path, node in walk(self.root, ())
            if node is not defined and definition_of(node) is defined
        ]
        if not users:
            return ()
        path, node = users[0]
        place = f" at {node.mark.to_location()}" if node.mark else ""
        more = f" and {len(users) - 1} more" if len(users) > 1 else ""
        return (f"used by {dotted((*path, *rest))}{place}{more}",)


def walk(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    """Yield every node once, without going through references."""
    yield path, node
    if definition_of(node) is node:
        for key, child in node.items():
            yield from walk(child, (*path, key))


def _place(node: Node, on: Literal["value", "key"]) -> Mark | None:
    """Return where to point: a block collection is shown by its key."""
    mark = node.mark
    if on == "key":
        return node.key_mark or mark
    if mark is not None and node.key_mark is not None:
        is_empty = (mark.line, mark.column) == (mark.end_line, mark.end_column)
        if is_empty and (node.is_mapping or node.is_list):
            return node.key_mark
    return mark


def _history(node: Node) -> tuple[str, ...]:
    notes = []
    if isinstance(node.via, str):
        notes.append(f"value comes from {node.via!r}")
    old = node.replaced[0] if node.replaced else None
    if old is not None and not old.poisoned:
        place = f" from {old.mark.to_location()}" if old.mark else ""
        notes.append(f"replaces {show(old)}{place}")
    return tuple(notes)


def _template_note(path: Path, trail: list[Node]) -> tuple[str, ...]:
    """Say which mapping used the template that a value was written in."""
    for depth in range(len(trail) - 1):
        template = trail[depth].via
        if isinstance(template, Node) and template.child(*path[depth:]) is trail[-1]:
            holder = trail[depth]
            place = f" at {holder.mark.to_location()}" if holder.mark else ""
            return (f"from the template of {dotted(path[:depth])}{place}",)
    return ()
