"""F10: SIGKILL of a replay actor under Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.faults.table import RowResult

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget


def run(budget: Budget) -> RowResult:
    """Say that there is nothing to kill yet."""
    del budget
    title = "replay actor killed: nothing acknowledged lost or doubled"
    return RowResult("F10", title, 20, absent="not in this version: trainer-ray does not run yet")
