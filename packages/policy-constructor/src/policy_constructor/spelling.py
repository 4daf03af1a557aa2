"""Nearest right spellings of a misspelled name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, candidates: Iterable[str], n: int = 3) -> tuple[str, ...]:
    """Return up to `n` candidates that look like `name`, best first; case does not matter."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    by_folded: dict[str, str] = {}
    for candidate in sorted(candidates):
        by_folded.setdefault(candidate.casefold(), candidate)
    found = difflib.get_close_matches(name.casefold(), list(by_folded), n=n, cutoff=0.6)
    return tuple(by_folded[folded] for folded in found)


def did_you_mean(suggestions: Iterable[str]) -> str:
    """Return `; did you mean 'a' or 'b'?`, empty without suggestions."""
    names = " or ".join(repr(name) for name in suggestions)
    return f"; did you mean {names}?" if names else ""
