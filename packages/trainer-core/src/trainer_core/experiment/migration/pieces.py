"""A file to be rewritten: its values with their comments and their places, and its text again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from policy_constructor.config.scalars import format_scalar, format_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.config import Node

__all__ = ["Piece", "attach_comments", "comments_of", "mapping", "read_piece", "scalar", "to_text"]

_WIDTH = 100
_YAML_1_1_WORDS = {
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON"), "true"),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF"), "false"),
}
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]+)?")

Members: TypeAlias = "dict[str, Piece] | list[Piece]"


@dataclass(slots=True, eq=False)
class Piece:
    """A value of the old file on its way into the new one.

    Attributes:
        value: Members of a mapping or list; the YAML text of a scalar.
        line: Its line in the old file; 0 for a new value.
        end: Its last line there.
        is_flow: Whether it is written on one line, in brackets.
        before: Comment lines above it.
        after: The comment behind it.
        below: Comment lines at the end of it.
    """

    value: Members | str
    line: int = 0
    end: int = 0
    is_flow: bool = False
    before: list[str] = field(default_factory=list)
    after: str = ""
    below: list[str] = field(default_factory=list)

    @property
    def members(self) -> dict[str, Piece]:
        """The members of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Piece]:
        """The members of a list; empty for anything else."""
        return self.value if isinstance(self.value, list) else []

    @property
    def plain(self) -> Any:
        """The value itself."""
        if isinstance(self.value, str):
            return yaml.safe_load(self.value)
        if isinstance(self.value, dict):
            return {key: piece.plain for key, piece in self.value.items()}
        return [piece.plain for piece in self.value]

    def take(self, key: str) -> Piece | None:
        """Remove and return a member of a mapping, None if there is none."""
        return self.members.pop(key, None)


def scalar(value: str | float | None) -> Piece:
    """Return a new scalar."""
    return Piece(format_text(value) if isinstance(value, str) else format_scalar(value))


def mapping(**members: Piece | None) -> Piece:
    """Return a new mapping of the members that are there."""
    return Piece({key: piece for key, piece in members.items() if piece is not None})


def read_piece(node: Node, lines: list[str]) -> Piece:
    """Return a parsed value as a piece; scalars keep the spelling they have in the file."""
    mark = node.mark
    start, end = (mark.line, mark.end_line) if mark is not None else (0, 0)
    if node.key_mark is not None:
        start = node.key_mark.line
    value = node.value
    if not isinstance(value, (dict, list)):
        return Piece(_spelling(node, lines), start, max(start, end))
    members = [(key, read_piece(child, lines)) for key, child in node.items()]
    is_flow = bool(lines) and mark is not None and _opens_bracket(lines[mark.line - 1], mark.column)
    found: Members = [piece for _, piece in members]
    if isinstance(value, dict):
        found = {str(key): piece for key, piece in members}
    last = max((piece.end for _, piece in members), default=start)
    return Piece(found, start, max(last, end) if is_flow else last, is_flow=is_flow)


def _opens_bracket(line: str, column: int) -> bool:
    return line[column - 1 : column] in {"[", "{"}


def _spelling(node: Node, lines: list[str]) -> str:
    """Return a scalar's text; what YAML 1.1 read as another value is written as that value."""
    mark, value = node.mark, node.value
    written = format_text(value) if isinstance(value, str) else format_scalar(value)
    if mark is None or mark.line != mark.end_line:
        return written
    text = lines[mark.line - 1][mark.column - 1 : mark.end_column - 1]
    if not text or text[0] in "&*|>!":
        return written
    if isinstance(value, str) and text == value:
        bare = text.replace("_", "")
        return bare if _GROUPED.fullmatch(text) else _YAML_1_1_WORDS.get(text, text)
    return text


def attach_comments(root: Piece, text: str) -> None:
    """Give each comment of a file to the value that it stands above or behind."""
    starts: dict[int, Piece] = {}
    for piece in _on_own_lines(root):
        starts.setdefault(piece.line, piece)
    waiting: list[str] = []
    comments = _comments(text)
    for line in range(1, len(text.splitlines()) + 1):
        if line in starts:
            starts[line].before += waiting
            waiting = []
        comment, is_alone = comments.get(line, ("", False))
        if comment and is_alone:
            waiting.append(comment)
        elif comment and (owner := _last_on(line, root)) is not None:
            owner.after = f"{owner.after} {comment}".strip()
    root.below += waiting
    first = next(iter(root.members.values()), None)
    if first is not None:  # what stands at the head of a file is about all of it
        root.before, first.before = first.before, []


def comments_of(text: str) -> dict[int, str]:
    """Return the comments of a file by line."""
    return {line: comment for line, (comment, _) in _comments(text).items()}


def _on_own_lines(piece: Piece) -> Iterator[Piece]:
    """Yield the values that begin a line: the members of all that is not in brackets."""
    if not piece.is_flow:
        for member in [*piece.members.values(), *piece.items]:
            yield member
            yield from _on_own_lines(member)


def _last_on(line: int, root: Piece) -> Piece | None:
    found = [piece for piece in _on_own_lines(root) if piece.line <= line <= piece.end]
    return found[-1] if found else None


def _comments(text: str) -> dict[int, tuple[str, bool]]:
    """Return the comment of each line and whether it has the line for itself."""
    lines = text.splitlines()
    covered = dict.fromkeys(range(1, len(lines) + 1), 0)
    for token in yaml.scan(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        first, last = token.start_mark, token.end_mark
        for line in range(first.line + 1, last.line + 1):
            covered[line] = len(lines[line - 1])
        if last.line + 1 in covered and not isinstance(token, yaml.BlockEndToken):
            covered[last.line + 1] = max(covered[last.line + 1], last.column)
    found = {}
    for number, text_of_line in enumerate(lines, start=1):
        rest = text_of_line[covered[number] :].strip()
        if rest.startswith("#"):
            found[number] = rest, not text_of_line[: covered[number]].strip()
    return found


def to_text(root: Piece) -> str:
    """Return the file's text, an empty line around each section."""
    lines = [*root.before]
    was_block = False
    for key, piece in root.members.items():
        is_block = _inline(piece) is None
        if lines and (is_block or was_block):
            lines.append("")
        _write(f"{format_text(key)}:", piece, "", lines)
        was_block = is_block
    return "\n".join([*lines, *([""] if root.below else []), *root.below]) + "\n"


def _write(lead: str, piece: Piece, indent: str, lines: list[str]) -> None:
    """Write one member; `lead` is `key:` or `-`."""
    lines += [f"{indent}{comment}" for comment in piece.before]
    behind = f"  {piece.after}" if piece.after else ""
    inline = _inline(piece)
    if inline is not None and (len(indent) + len(lead) + len(inline) < _WIDTH or not piece.value):
        lines.append(f"{indent}{lead} {inline}{behind}")
    else:
        start = len(lines)
        for key, member in piece.members.items():
            _write(f"{format_text(key)}:", member, f"{indent}  ", lines)
        for item in piece.items:
            _write("-", item, f"{indent}  ", lines)
        first = lines[start].strip() if start < len(lines) else "#"
        if lead == "-" and piece.members and not first.startswith("#") and not behind:
            lines[start] = f"{indent}- {first}"
        else:
            lines.insert(start, f"{indent}{lead}{behind}")
    lines += [f"{indent}  {comment}" for comment in piece.below]


def _inline(piece: Piece) -> str | None:
    """Return a value that goes on its key's line."""
    if isinstance(piece.value, str):
        return piece.value
    if not piece.value:
        return "{}" if isinstance(piece.value, dict) else "[]"
    if not piece.is_flow or any(p.before or p.after or p.below for p in _below(piece)):
        return None
    texts = [_inline(member) or "" for member in [*piece.members.values(), *piece.items]]
    if isinstance(piece.value, dict):
        keys = map(format_text, piece.value)
        return (
            "{" + ", ".join(f"{key}: {text}" for key, text in zip(keys, texts, strict=True)) + "}"
        )
    return f"[{', '.join(texts)}]"


def _below(piece: Piece) -> Iterator[Piece]:
    for member in [*piece.members.values(), *piece.items]:
        yield member
        yield from _below(member)
