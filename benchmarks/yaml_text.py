"""A YAML file as text whose entries can be damaged one at a time, everything else untouched."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Entry", "YamlText"]


@dataclass(frozen=True)
class Entry:
    """One `key: value` of a mapping, or one item of a list (whose key is its index).

    Attributes:
        path: Its keys from the root.
        key: First and last index of the key in the text; None for a list's item.
        value: The same of the value.
        line: Line of the key, from 1.
        value_line: Line of the value.
        last_line: Last line of the value.
        in_flow: Whether it stands between braces or brackets.
        kind: `mapping`, `list` or `scalar`.
        parent_lines: Lines a message about something missing in the mapping may point at.
        text: The value as it is written.
    """

    path: tuple[str, ...]
    key: tuple[int, int] | None
    value: tuple[int, int]
    line: int
    value_line: int
    last_line: int
    in_flow: bool
    kind: str
    parent_lines: frozenset[int]
    text: str

    @property
    def name(self) -> str:
        """The key."""
        return self.path[-1]


@dataclass(frozen=True)
class YamlText:
    """The text of a YAML file.

    Attributes:
        name: The file, relative to the folder of the corpus.
        text: What is in it.
    """

    name: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines with their line breaks."""
        return self.text.splitlines(keepends=True)

    @cached_property
    def entries(self) -> list[Entry]:
        """Every entry, at any depth, in file order."""
        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        if root is None:
            return []
        first = root.start_mark.line + 1
        return list(self._below(root, (), frozenset({1, first})))

    def _below(
        self, node: yaml.Node, path: tuple[str, ...], lines: frozenset[int]
    ) -> Iterator[Entry]:
        pairs: list[tuple[yaml.Node | None, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            pairs = list(node.value)
        elif isinstance(node, yaml.SequenceNode):
            pairs = [(None, item) for item in node.value]
        for index, (key, value) in enumerate(pairs):
            if key is not None and value.start_mark.index < key.start_mark.index:
                continue  # an alias: what it stands for was there already
            name = str(key.value) if key is not None else str(index)
            entry = self._entry(key, value, (*path, name), lines, in_flow=_is_flow(node))
            yield entry
            yield from self._below(value, entry.path, frozenset({entry.line, entry.value_line}))

    def _entry(
        self,
        key: yaml.Node | None,
        value: yaml.Node,
        path: tuple[str, ...],
        parent_lines: frozenset[int],
        *,
        in_flow: bool,
    ) -> Entry:
        kinds: dict[type[yaml.Node], str] = {yaml.MappingNode: "mapping", yaml.SequenceNode: "list"}
        start, end = value.start_mark.index, _end(value).index
        return Entry(
            path=path,
            key=(key.start_mark.index, key.end_mark.index) if key is not None else None,
            value=(start, end),
            line=(key or value).start_mark.line + 1,
            value_line=value.start_mark.line + 1,
            last_line=_end(value).line + 1,
            in_flow=in_flow,
            kind=kinds.get(type(value), "scalar"),
            parent_lines=parent_lines,
            text=self.text[start:end],
        )

    def replaced(self, span: tuple[int, int], new: str) -> str:
        """Return the text with one span exchanged."""
        return self.text[: span[0]] + new + self.text[span[1] :]

    def with_value(self, entry: Entry, new: str) -> str:
        """Return the text with another value, written on the line of the key."""
        if entry.key is None or entry.value_line == entry.line:
            return self.replaced(entry.value, new)
        return self.replaced((entry.key[1], entry.value[1]), f": {new}")

    def without(self, entry: Entry) -> str:
        """Return the text without an entry of a mapping."""
        if not entry.in_flow:
            return "".join([*self.lines[: entry.line - 1], *self.lines[entry.last_line :]])
        start, end = (entry.key or entry.value)[0], entry.value[1]
        after = self.text[end:]
        if after.startswith(", "):
            return self.text[:start] + after[2:]
        before = self.text[:start].rstrip()
        return before.removesuffix(",") + after

    def doubled(self, entry: Entry) -> tuple[str, int]:
        """Return the text with an entry written twice, and the line of the second one."""
        if entry.in_flow:
            written = self.text[(entry.key or entry.value)[0] : entry.value[1]]
            end = entry.value[1]
            return self.text[:end] + f", {written}" + self.text[end:], entry.line
        block = self.lines[entry.line - 1 : entry.last_line]
        again = [*self.lines[: entry.last_line], *block, *self.lines[entry.last_line :]]
        return "".join(again), entry.last_line + 1

    def moved_to_root(self, entry: Entry) -> tuple[str, int]:
        """Return the text with an entry moved to the end of the file, and its new line."""
        text = self.without(entry).rstrip("\n") + "\n"
        return text + self.as_block(entry, ""), text.count("\n") + 1

    def as_block(self, entry: Entry, indent: str) -> str:
        """Return an entry as lines of a block mapping."""
        if entry.in_flow or entry.line == entry.last_line:
            return f"{indent}{entry.name}: {entry.text}\n"
        block = self.lines[entry.line - 1 : entry.last_line]
        width = len(block[0]) - len(block[0].lstrip())
        return "".join(indent + line[width:] for line in block)


def _is_flow(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)


def _end(node: yaml.Node) -> yaml.Mark:
    """Return where the last token of a value ends; a block collection's own mark is later."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark
