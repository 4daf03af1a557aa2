"""F9: SIGKILL of a worker under Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.faults.table import RowResult

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget


def run(budget: Budget) -> RowResult:
    """Say that there is nothing to kill yet."""
    del budget
    title = "Ray worker killed: recovered, nothing committed lost"
    return RowResult("F9", title, 20, absent="not in this version: trainer-ray does not run yet")
