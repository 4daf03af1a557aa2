"""The collector of problems, and their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.config.node import dotted
from policy_constructor.errors import Problem
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from policy_constructor.config.node import Mark, Node, Path

__all__ = ["CLI", "Report", "sort_problems"]

CLI = "<cli>"
MAX_PROBLEMS = 500
_MAX_COMPARED = 20_000


class Report:
    """Collects the problems of one resolution.

    A file can hold a hundred thousand mistakes; the first few hundred are kept.

    Attributes:
        problems: What was found so far, in the order of finding.
        omitted: How many more were found.
        incomplete: A file is missing or could not be parsed, so that a name that cannot be found
            may well be in it.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.omitted = 0
        self.incomplete = False
        self._compared = 0

    def add(self, mark: Mark | None, message: str, path: Path = (), **details: Any) -> None:
        """Record a problem at a mark; `details` are further fields of `Problem`."""
        if len(self.problems) >= MAX_PROBLEMS:
            self.omitted += 1
            return
        location = mark.to_location() if mark else None
        self.problems.append(Problem(message, path=dotted(path), location=location, **details))

    def poison(self, node: Node, message: str, path: Path = (), **details: Any) -> None:
        """Record a problem of a value, and make the value one that later checks accept."""
        self.add(node.mark, message, path, **details)
        node.value = None
        node.poisoned = True

    def similar(self, name: str, candidates: Collection[str]) -> tuple[str, ...]:
        """Return nearest spellings, none once many names have been compared."""
        self._compared += len(candidates)
        return nearest(name, candidates) if self._compared <= _MAX_COMPARED else ()

    def sorted(self) -> list[Problem]:
        """Return the problems in file order, at the end how many more there are."""
        found = sort_problems(self.problems)
        if self.omitted:
            message = f"{self.omitted} more mistakes are not shown"
            found.append(Problem(message, code="too-many"))
        return found


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems without repetitions, in the order of their files and lines.

    The file that was named first comes first, then what it includes in the order of inclusion,
    then the command line. Problems without a place stand before all others.
    """
    unique: dict[tuple[object, ...], Problem] = {}
    for problem in problems:
        place = str(problem.location) if problem.location else ""
        unique.setdefault((place, problem.path, problem.message), problem)
    return sorted(unique.values(), key=_rank)


def _rank(problem: Problem) -> tuple[int, list[tuple[int, int]], str, int, int]:
    place = problem.location
    if place is None:
        return (0, [], "", 0, 0)
    chain = [(outer.line, outer.column) for outer in reversed(place.included_from)]
    return (2 if place.file == CLI else 1, chain, place.file, place.line, place.column)
