"""Dotted paths: `a.b.0`, with quotes around a key that holds a dot (`windows."a.b"`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from policy_constructor.config.node import Key, Node, Path

__all__ = ["Segment", "Step", "parse_path", "split_path", "step_into"]

_SEGMENT = re.compile(r'"([^"]*)"|([^."]+)')
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class Segment(NamedTuple):
    """One key of a written path and where it stands in the text (offsets from 0)."""

    key: Key
    start: int
    end: int


class Step(NamedTuple):
    """One step down the tree: the key that was taken, its value, the path's next position."""

    key: Key
    node: Node
    position: int


def split_path(text: str) -> list[Segment]:
    """Return the keys of a dotted path with their places.

    Raises:
        ValueError: A key is empty or a quote is not closed.
    """
    segments: list[Segment] = []
    position = 0
    while True:
        match = _SEGMENT.match(text, position)
        if match is None:
            message = f"{text!r} is not a dotted path: a key is missing at column {position + 1}"
            raise ValueError(message)
        bare = match[2]
        key: Key = match[1] if bare is None else int(bare) if _INDEX.fullmatch(bare) else bare
        segments.append(Segment(key, match.start(), match.end()))
        position = match.end()
        if position == len(text):
            return segments
        if text[position] != ".":
            message = f"{text!r} is not a dotted path: expected '.' at column {position + 1}"
            raise ValueError(message)
        position += 1


def parse_path(text: str) -> Path:
    """Return ("a", "b", 0) for `a.b.0`.

    Raises:
        ValueError: A key is empty or a quote is not closed.
    """
    return tuple(segment.key for segment in split_path(text))


def step_into(node: Node, path: Path, position: int) -> Step | None:
    """Take the child that `path[position]` names, or None.

    A mapping that lacks the key but has one with dots in it (`observation.state`) is entered by
    the whole name, so that such keys need quotes only where both exist.
    """
    value = node.value
    key = path[position]
    if isinstance(value, list):
        if isinstance(key, int) and key < len(value):
            return Step(key, value[key], position + 1)
        return None
    if not isinstance(value, dict):
        return None
    name = str(key)
    if name in value:
        return Step(name, value[name], position + 1)
    for end in range(position + 1, len(path)):
        name = f"{name}.{path[end]}"
        if name in value:
            return Step(name, value[name], end + 1)
    return None
