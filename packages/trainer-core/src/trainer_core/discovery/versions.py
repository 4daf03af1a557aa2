"""Does a version lie in a range such as `>=0.1,<0.2`? The part of PEP 440 that ranges use."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["is_within", "requirement"]

_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)[-_.]?(?:(a|b|c|rc|dev|post)[-_.]?(\d*))?", re.IGNORECASE)
_CLAUSE = re.compile(r"\s*(~=|==|!=|<=|>=|<|>)\s*([^\s,]+)\s*")
_REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?")
_PHASES = {"dev": -4, "a": -3, "b": -2, "c": -1, "rc": -1, "": 0, "post": 1}


class _Version(NamedTuple):
    release: tuple[int, ...]
    phase: int
    number: int


def requirement(text: str) -> tuple[str, str]:
    """Return (name, range) of a `Requires-Dist`; no name if it counts for an extra only."""
    match = _REQUIREMENT.match(text)
    if match is None or "extra" in (match[3] or ""):
        return "", ""
    return match[1], match[2].strip()


def is_within(version: str, wanted: str) -> bool:
    """Return whether a version satisfies every clause of a range.

    A clause that cannot be read, and a version that cannot, exclude nothing.
    """
    found = _parse(version)
    clauses = [_CLAUSE.fullmatch(clause) for clause in wanted.split(",")]
    return found is None or all(_holds(found, c[1], c[2]) for c in clauses if c is not None)


def _holds(found: _Version, operator: str, text: str) -> bool:
    wildcard = text.endswith(".*")
    bound = _parse(text.removesuffix(".*"))
    if bound is None:
        return True
    if wildcard:
        same = _starts_with(found, bound.release)
        return same if operator == "==" else not same
    if operator == "~=":
        written = text.split(".")
        prefix = tuple(int(part) for part in written[:-1] if part.isdecimal())
        return _key(found) >= _key(bound) and _starts_with(found, prefix)
    if operator == "<" and found.phase < 0 <= bound.phase:
        return _trimmed(found.release) < _trimmed(bound.release)  # 2.0rc1 is not below 2.0
    compared = {
        "==": _key(found) == _key(bound),
        "!=": _key(found) != _key(bound),
        "<=": _key(found) <= _key(bound),
        ">=": _key(found) >= _key(bound),
        "<": _key(found) < _key(bound),
        ">": _key(found) > _key(bound),
    }
    return compared[operator]


def _parse(text: str) -> _Version | None:
    match = _VERSION.match(text.strip().partition("+")[0])
    if match is None:
        return None
    release = tuple(int(part) for part in match[1].split("."))
    return _Version(release, _PHASES[(match[2] or "").lower()], int(match[3] or 0))


def _key(version: _Version) -> tuple[tuple[int, ...], int, int]:
    return _trimmed(version.release), version.phase, version.number


def _trimmed(release: tuple[int, ...]) -> tuple[int, ...]:
    while release and release[-1] == 0:
        release = release[:-1]
    return release


def _starts_with(found: _Version, prefix: tuple[int, ...]) -> bool:
    padded = found.release + (0,) * len(prefix)
    return padded[: len(prefix)] == prefix
