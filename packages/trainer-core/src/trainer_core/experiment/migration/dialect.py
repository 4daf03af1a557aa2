"""What old files wrote in YAML and ours do not: tuples and merge keys."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from trainer_core.experiment.migration.pieces import Piece

__all__ = ["expand_merges", "to_our_dialect"]

_MERGE, _TUPLE = "<<", ("!!", "python/tuple")


def to_our_dialect(text: str) -> str:
    """Return a file's text without tags of tuples and with merge keys in quotes, line by line.

    A text that is no YAML is returned as it is: whoever parses it says what is wrong.
    """
    lines = text.splitlines(keepends=True)
    try:
        tokens = list(yaml.scan(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        return text
    for token in reversed(tokens):
        line, start, end = token.start_mark.line, token.start_mark.column, token.end_mark.column
        if isinstance(token, yaml.TagToken) and token.value == _TUPLE:
            lines[line] = lines[line][:start] + lines[line][end:].lstrip(" ")
        elif isinstance(token, yaml.ScalarToken) and token.plain and token.value == _MERGE:
            lines[line] = f'{lines[line][:start]}"{_MERGE}"{lines[line][end:]}'
    return "".join(lines)


def expand_merges(piece: Piece) -> None:
    """Put the members that a merge key brings into its mapping; those written there come first."""
    for member in [*piece.members.values(), *piece.items]:
        expand_merges(member)
    merged = piece.take(_MERGE)
    for source in [merged, *merged.items] if merged is not None else []:
        for name, value in source.members.items():
            piece.members.setdefault(name, _without_comments(value))


def _without_comments(piece: Piece) -> Piece:
    """Return a copy whose comments stay with the original."""
    new = copy(piece)
    new.before, new.below, new.after = [], [], ""
    if isinstance(piece.value, dict):
        new.value = {key: _without_comments(member) for key, member in piece.value.items()}
    elif isinstance(piece.value, list):
        new.value = [_without_comments(member) for member in piece.value]
    return new
