"""The configuration tree: every value is a node that knows where it was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from policy_constructor.errors import Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Key", "Mark", "Node", "Path", "Source", "dotted", "free_names", "to_plain"]

_LONGEST_LINE = 500

Scalar: TypeAlias = str | int | float | bool | None
Key: TypeAlias = str | int
Path: TypeAlias = tuple[Key, ...]


@dataclass(slots=True, eq=False)
class Source:
    """A text that values were read from: a file, a recipe, the command line, a Python mapping.

    Attributes:
        name: What messages call it.
        lines: The text, split into lines, for the caret display.
        included_from: Where a `defaults` entry or a `config:` key named this file.
        directory: Folder that relative paths inside the text start from; None if there is none.
    """

    name: str
    lines: list[str] = field(default_factory=list)
    included_from: Mark | None = None
    directory: str | None = None


@dataclass(slots=True, eq=False)
class Mark:
    """Start and end of a token in a source; lines and columns count from 1."""

    source: Source
    line: int
    column: int
    end_line: int = 0
    end_column: int = 0

    def to_location(self) -> Location:
        """Return the place with its include chain, and its source line if that can be shown."""
        lines = self.source.lines
        text = lines[self.line - 1] if 0 < self.line <= len(lines) else ""
        if len(text) > _LONGEST_LINE:
            text = ""
        end = self.end_column if self.end_line == self.line else len(text) + 1
        chain: list[Location] = []
        outer = self.source.included_from
        while outer is not None:
            chain.append(Location(outer.source.name, outer.line, outer.column))
            outer = outer.source.included_from
        return Location(
            file=self.source.name,
            line=self.line,
            column=self.column,
            end_column=max(end, self.column + 1),
            text=text,
            included_from=tuple(chain),
        )


@dataclass(slots=True, eq=False)
class Node:
    """One value of a configuration and its history.

    Attributes:
        value: A scalar, `dict[str, Node]` or `list[Node]`.
        mark: Where the value was written; None for values that came from Python.
        key_mark: Where its key was written.
        replaced: The nodes that a later layer overrode, newest first.
        via: The node that a whole-value `${...}`, an alias or a template took this value from, or
            the text of a composed value (`runs/${run.name}`, `${env:HOME}`).
        uses: How often `${...}` took this value.
        poisoned: A problem was reported here already; later checks accept it in silence.
        expression: The text with `${...}` that this value was computed from.
        from_env: The value holds something read from an environment variable.
    """

    value: Any
    mark: Mark | None = None
    key_mark: Mark | None = None
    replaced: list[Node] = field(default_factory=list)
    via: Node | str | None = None
    uses: int = 0
    poisoned: bool = False
    expression: str | None = None
    from_env: bool = False

    @property
    def is_mapping(self) -> bool:
        """Whether the value is a mapping."""
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return isinstance(self.value, list)

    def items(self) -> Iterator[tuple[Key, Node]]:
        """Yield (key, child) of a mapping, (index, child) of a list, nothing of a scalar."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def child(self, *path: Key) -> Node | None:
        """Return the node at `path` below this one, or None."""
        node: Node = self
        for key in path:
            value = node.value
            if isinstance(value, list):
                has_child = isinstance(key, int) and 0 <= key < len(value)
            else:
                has_child = isinstance(value, dict) and key in value
            if not has_child:
                return None
            node = value[key]
        return node


def free_names(holder: Node | None, key: str, names: Iterable[str]) -> list[str]:
    """Return the names that an unknown key may be meant for.

    A name that stands beside the key already cannot be meant, unless another file wrote it.
    """
    if holder is None or not holder.is_mapping:
        return list(names)
    beside = holder.value
    source = _writer(beside.get(key))
    return [
        name
        for name in names
        if name not in beside
        or (source is not None and _writer(beside[name]) not in {None, source})
    ]


def _writer(node: Node | None) -> Source | None:
    """Return the source in which a value's key was written."""
    mark = node.key_mark or node.mark if node is not None else None
    return mark.source if mark is not None else None


def to_plain(node: Node) -> Any:
    """Return the plain dicts, lists and scalars below a node."""
    value = node.value
    if isinstance(value, dict):
        return {key: to_plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [to_plain(child) for child in value]
    return value


def dotted(path: Path) -> str:
    """Return `a.b.0.c` for ("a", "b", 0, "c"), as a command-line override spells it."""
    return ".".join(str(key) for key in path)
