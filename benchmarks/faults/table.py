"""The rows of the fault table: what one is given, what it returns, and where it stands."""

from __future__ import annotations

import importlib
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["Budget", "RowResult", "Tally", "find_rows", "run_row"]

_ROWS = Path(__file__).parent / "rows"
_SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Budget:
    """What a row may spend.

    Attributes:
        folder: An empty folder to work in.
        scale: Share of the target to try: 1 reaches it, the short form takes far less.
        seconds: No new injection begins after this time.
        seed: Seeds the choice of injections.
    """

    folder: Path
    scale: float = 1.0
    seconds: float = math.inf
    seed: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def is_short(self) -> bool:
        """Whether only a sample of the injections is wanted."""
        return self.scale < 1

    def count(self, target: int, least: int = 1) -> int:
        """Return how many injections of a target to try."""
        return min(target, max(least, round(target * self.scale)))

    def sample(self, population: list[Any], least: int = 1) -> list[Any]:
        """Return all of a list, or an evenly spread share of it."""
        wanted = self.count(len(population), least) if population else 0
        return [population[i * len(population) // wanted] for i in range(wanted)]

    def has_time(self) -> bool:
        """Return whether another injection may begin."""
        return time.perf_counter() - self.began < self.seconds

    def random(self) -> Random:
        """Return the generator of the row's choices."""
        return Random(self.seed)


@dataclass
class RowResult:
    """What came of a row.

    Attributes:
        id: `F1` and so on.
        title: What is injected, and what must hold.
        target: Injections of the long form.
        reached: Injections after which it held.
        failures: The injections after which it did not, in words.
        seconds: How long it took.
        note: Figures and limits.
        absent: Why the row is not run; empty if it is.
    """

    id: str
    title: str
    target: int
    reached: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""
    absent: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON data."""
        return asdict(self)


class Tally:
    """Counts the injections of a row.

    Args:
        row: Its number, `F1`.
        title: What is injected, and what must hold.
        target: Injections of the long form.
    """

    def __init__(self, row: str, title: str, target: int) -> None:
        self.row = RowResult(row, title, target)
        self._began = time.perf_counter()
        self._failed = 0

    def add(self, problem: str, injection: str) -> None:
        """Count an injection; an empty `problem` means that all held."""
        if not problem:
            self.row.reached += 1
            return
        self._failed += 1
        if self._failed <= _SHOWN_FAILURES:
            self.row.failures.append(f"{injection}: {problem}")

    def result(self, note: str = "") -> RowResult:
        """Return the row's result."""
        hidden = self._failed - len(self.row.failures)
        if hidden:
            self.row.failures.append(f"and {hidden} more")
        self.row.seconds = time.perf_counter() - self._began
        self.row.note = note
        return self.row


def find_rows() -> dict[str, str]:
    """Return the module of each row by its number, in the order of the table."""
    found = {f"F{int(path.stem[1:3])}": path.stem for path in sorted(_ROWS.glob("f[0-9]*.py"))}
    return {row: f"benchmarks.faults.rows.{stem}" for row, stem in found.items()}


def run_row(row: str, budget: Budget) -> RowResult:
    """Run one row."""
    result: RowResult = importlib.import_module(find_rows()[row]).run(budget)
    return result
