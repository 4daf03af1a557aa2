"""What went wrong in a file and where: problems, their places, and the one renderer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ConfigError", "Location", "Problem", "render_problem"]


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file or on the command line. Lines and columns count from 1.

    Attributes:
        file: The file's name as the user would type it; `<cli>` for an override.
        line: Line; for `<cli>` the position of the argument.
        column: First column of the token.
        end_column: Column after the token when it ends on the same line, else `column + 1`.
        text: The source line without its line break; empty when there is none.
        included_from: Where the file was included, nearest first.
    """

    file: str
    line: int
    column: int
    end_column: int = 0
    text: str = ""
    included_from: tuple[Location, ...] = ()

    def __str__(self) -> str:
        """Return `file:line:col`."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the user's input, with all that is needed to mend it.

    Attributes:
        message: What is wrong, in one sentence without a final stop.
        path: The dotted key (`models.decoder.width`); empty for a whole file.
        location: Where it was written; None for values that came from Python.
        code: A stable name of the kind of mistake (`unknown-key`), for editors and tests.
        expected: What would have been right; empty when the message says it.
        suggestions: Nearest right spellings, best first.
        notes: Further lines: what a value replaced, which references use it, the include chain.
    """

    message: str
    path: str = ""
    location: Location | None = None
    code: str = "invalid"
    expected: str = ""
    suggestions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the record of `trainer check --json`."""
        place = self.location
        return {
            "code": self.code,
            "message": self.message,
            "path": self.path,
            "file": place.file if place else None,
            "line": place.line if place else None,
            "column": place.column if place else None,
            "expected": self.expected,
            "suggestions": list(self.suggestions),
            "notes": list(self.notes),
        }


@dataclass
class ConfigError(ValueError):
    """The user's input is wrong; `problems` lists every mistake found, in file order."""

    problems: tuple[Problem, ...] = field(default_factory=tuple)

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        found = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(found)
        self.problems = found

    def __str__(self) -> str:
        """Render every problem with its source line and caret."""
        return "\n".join(render_problem(problem) for problem in self.problems)


def render_problem(problem: Problem, severity: str = "error") -> str:
    """Render one problem: place, key and message, then the source line, a caret and the notes."""
    place = problem.location
    head = ": ".join(part for part in (str(place) if place else "", severity, problem.path) if part)
    lines = [f"{head}: {problem.message}{_did_you_mean(problem.suggestions)}"]
    gutter = " " * 4
    if place and place.text:
        number = str(place.line)
        gutter = " " * (len(number) + 2)
        width = max(1, (place.end_column or place.column + 1) - place.column)
        indent = "".join("\t" if c == "\t" else " " for c in place.text[: place.column - 1])
        lines += [f"  {number} | {place.text}", f"{gutter} | {indent}{'^' * width}"]
    notes = [f"expected {problem.expected}"] if problem.expected else []
    notes += problem.notes
    notes += [f"included from {outer}" for outer in (place.included_from if place else ())]
    return "\n".join(lines + [f"{gutter} = {note}" for note in notes])


def _did_you_mean(suggestions: tuple[str, ...]) -> str:
    if not suggestions:
        return ""
    return f"; did you mean {' or '.join(repr(name) for name in suggestions[:3])}?"
