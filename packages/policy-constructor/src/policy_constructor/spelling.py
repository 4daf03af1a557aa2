"""Nearest right spellings of a misspelled name."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "is_slip", "nearest"]

_LONGEST_NAME = 200


def nearest(name: str, candidates: Iterable[str], n: int = 3) -> tuple[str, ...]:
    """Return up to `n` candidates spelled like `name`, best first; letter case is ignored.

    Candidates that one slip of a finger leads to come first, however short they are.
    """
    return _nearest(name, frozenset(candidates), n) if len(name) <= _LONGEST_NAME else ()


@lru_cache(maxsize=1024)
def _nearest(name: str, candidates: frozenset[str], n: int) -> tuple[str, ...]:
    folded: dict[str, list[str]] = {}
    for candidate in sorted(candidates - {name}):
        folded.setdefault(candidate.casefold(), []).append(candidate)
    wanted = name.casefold()
    slips = [other for other in folded if len(other) > 1 and is_slip(wanted, other)]
    close = dict.fromkeys(sorted(slips, key=lambda other: sorted(other) != sorted(wanted)))
    if len(close) < n and folded:
        import difflib  # noqa: PLC0415 - costs 10 ms and is needed only when something is wrong

        close |= dict.fromkeys(difflib.get_close_matches(wanted, folded, n=n, cutoff=0.6))
    return tuple(found for match in close for found in folded[match])[:n]


def is_slip(name: str, right: str) -> bool:
    """Whether one letter too many, too few or wrong, or two swapped ones, part two names."""
    if abs(len(name) - len(right)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(name, right, strict=False)) if a != b), None)
    if start is None:
        return True
    rest, other = name[start:], right[start:]
    return (
        rest[1:] == other[1:]
        or rest[1:] == other
        or rest == other[1:]
        or (rest[:2] == other[1::-1] and rest[2:] == other[2:])
    )


def did_you_mean(suggestions: Iterable[str]) -> str:
    """Return `; did you mean 'a' or 'b'?`, empty without suggestions."""
    names = " or ".join(repr(name) for name in suggestions)
    return f"; did you mean {names}?" if names else ""
