"""The syntax of `${...}` inside text."""

from __future__ import annotations

import re

from policy_constructor.config.node import Mark

__all__ = ["Reference", "escape", "narrow", "split_text"]

_BRACE = re.compile(r"[{}]")
_DOLLARS_BEFORE_BRACE = re.compile(r"(?<!\$)(?=\$+\{)")


class Reference(str):
    """What stands between `${` and `}`."""

    __slots__ = ()


def escape(text: str) -> str:
    """Return text that is read as `text`, with nothing in it taken for a reference."""
    return _DOLLARS_BEFORE_BRACE.sub("$", text) if "${" in text else text


def split_text(text: str) -> list[str]:
    """Return the literal parts of a text and its `Reference`s in order.

    A run of two or more `$` before `{` loses one and is literal; other `$` are literal anyway.

    Raises:
        ValueError: A `${` has no `}`.
    """
    parts: list[str] = []
    literal: list[str] = []
    position = 0
    while (at := text.find("${", position)) >= 0:
        if at > position and text[at - 1] == "$":
            literal.append(text[position:at] + "{")
            position = at + 2
            continue
        literal.append(text[position:at])
        end = _find_end(text, at + 2)
        if joined := "".join(literal):
            parts.append(joined)
        literal = []
        parts.append(Reference(text[at + 2 : end]))
        position = end + 1
    if joined := "".join([*literal, text[position:]]):
        parts.append(joined)
    return parts


def _find_end(text: str, position: int) -> int:
    """Return where the `}` stands that closes a reference."""
    depth = 1
    for brace in _BRACE.finditer(text, position):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    message = "'${' without '}'; write '$${' for these two characters themselves"
    raise ValueError(message)


def narrow(mark: Mark | None, reference: str) -> Mark | None:
    """Return the mark of one reference inside a text that stands on one line."""
    if mark is None:
        return None
    lines = mark.source.lines
    line = lines[mark.line - 1] if 0 < mark.line <= len(lines) else ""
    at = line.find(f"${{{reference}}}", mark.column - 1)
    if at < 0:
        return mark
    return Mark(mark.source, mark.line, at + 1, mark.line, at + len(reference) + 4)
