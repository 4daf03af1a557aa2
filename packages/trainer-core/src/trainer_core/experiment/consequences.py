"""Leaves out what is wrong only because something else is: one mistake, one message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.errors import Problem

__all__ = ["without_consequences"]

_FOLLOWING = frozenset(
    {"missing-key", "unknown-key", "conflicting-keys", "left-over", "unknown-reference"}
)
_REFERENCE = re.compile(r"\$\{([^}]+)\} (?:names nothing|is a )")
_SPEC_KEYS = ("_type_", "_merge_")


def without_consequences(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems without those that follow from another one.

    What a misspelt key should have said is missing elsewhere: its section lacks keys, keys of a
    component without `_type_` belong to nothing, references to it name nothing. The same holds for
    what an included file would have said that is not there.
    """
    absent: set[str] = set()
    torn: set[str] = set()
    misnamed = {
        problem.path.removesuffix("._type_")
        for problem in problems
        if problem.code == "unknown-component" and problem.suggestions
    }
    misses_include = False
    for problem in problems:
        if problem.code == "missing-file" and problem.path.startswith("defaults."):
            misses_include = True
        if problem.code == "wrong-type":
            absent.add(problem.path)
        if problem.code == "missing-key" and problem.message.endswith("does not say what it is"):
            torn.add(problem.path)
        if problem.code == "unknown-key" and problem.suggestions:
            parent, _, _ = problem.path.rpartition(".")
            meant = problem.suggestions[0].rpartition(".")[2]
            misses_include |= not parent and meant == "defaults"
            (torn if meant in _SPEC_KEYS else absent).add(
                parent if meant in _SPEC_KEYS else f"{parent}.{meant}".lstrip(".")
            )
    return [
        problem
        for problem in problems
        if not _follows(problem, absent, torn)
        and not (problem.code == "left-over" and problem.path.rpartition(".")[0] in misnamed)
        and not (misses_include and problem.code in _FOLLOWING and not problem.suggestions)
    ]


def _follows(problem: Problem, absent: set[str], torn: set[str]) -> bool:
    reference = _REFERENCE.match(problem.message)
    if reference is not None and _is_in(reference[1], absent):
        return True
    if problem.code not in _FOLLOWING:
        return False
    if problem.code == "unknown-key" and problem.suggestions:
        return False  # a mistake of its own
    is_missing = problem.code == "missing-key" and problem.path in torn
    says_so = problem.message.endswith("does not say what it is")
    return (
        _is_in(problem.path, absent)
        or _is_in(problem.path.rpartition(".")[0], torn)
        or (is_missing and not says_so)
    )


def _is_in(path: str, places: set[str]) -> bool:
    """Return whether a path is one of the places or lies below one."""
    parts = path.split(".")
    return any(".".join(parts[:end]) in places for end in range(1, len(parts) + 1))
