"""Syntax errors of YAML in words: where, what, and what to do."""

from __future__ import annotations

import yaml

from policy_constructor.config.node import Mark, Source

__all__ = ["explain"]


_NO_COLON = "could not find expected ':'"


def explain(
    error: yaml.YAMLError, text: str, source: Source, line: int, column: int
) -> tuple[Mark, str, str]:
    """Return the place of a syntax error, its words, and advice if there is any."""
    if isinstance(error, yaml.MarkedYAMLError):
        spot, opened = error.problem_mark, error.context_mark
        is_late = spot is not None and spot.index >= len(text.rstrip())
        if spot is None or (opened is not None and (is_late or _NO_COLON in (error.problem or ""))):
            spot = opened  # what is open there says more than where the search for its end gave up
        row, offset = (spot.line, spot.column) if spot else (0, 0)
        words = ", ".join(part for part in (error.problem, error.context) if part)
    else:
        before = text.encode()[: getattr(error, "position", 0)].decode(errors="ignore")
        row, offset = before.count("\n"), len(before) - (before.rfind("\n") + 1)
        words = str(getattr(error, "reason", error))
    if row > (last := text.count("\n")):  # behind the end of a text without a line break
        row, offset = last, max(len(text) - text.rfind("\n") - 2, 0)
    mark = Mark(source, row + line, offset + column, row + line, offset + column + 1)
    return mark, f"not valid YAML: {words}", _advise(words, source, mark)


def _advise(words: str, source: Source, mark: Mark) -> str:
    here = source.lines[mark.line - 1 : mark.line]
    character = here[0][mark.column - 1 : mark.column] if here else ""
    if "cannot start any token" in words:
        if character == "\t":
            return "spaces: a tab cannot indent"
        return f"quotes around text that starts with {character!r}"
    if "flow" in words and here and "${" in here[0]:
        return "quotes around '${...}' inside brackets and braces"
    if _NO_COLON in words:
        return "'key: value', with a space behind the colon"
    if "mapping values are not allowed" in words:
        return "quotes around text that contains ': ', or a line of its own for each key"
    return ""
