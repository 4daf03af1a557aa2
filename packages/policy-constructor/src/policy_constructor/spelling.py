"""Nearest right spellings of a misspelled name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_LONGEST_NAME = 200


def nearest(name: str, candidates: Iterable[str], n: int = 3) -> tuple[str, ...]:
    """Return up to `n` candidates spelled like `name`, best first; letter case is ignored."""
    import difflib  # noqa: PLC0415 - costs 10 ms and is needed only when something is wrong

    if len(name) > _LONGEST_NAME:
        return ()
    folded: dict[str, list[str]] = {}
    for candidate in sorted(set(candidates) - {name}):
        folded.setdefault(candidate.casefold(), []).append(candidate)
    close = difflib.get_close_matches(name.casefold(), folded, n=n, cutoff=0.6)
    return tuple(found for match in close for found in folded[match])[:n]


def did_you_mean(suggestions: Iterable[str]) -> str:
    """Return `; did you mean 'a' or 'b'?`, empty without suggestions."""
    names = " or ".join(repr(name) for name in suggestions)
    return f"; did you mean {names}?" if names else ""
