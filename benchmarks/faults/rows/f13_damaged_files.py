"""F13: malformed experiment files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.corpus import Corpus, peak_memory_mb
from benchmarks.faults.table import Tally

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget, RowResult

TITLE = "malformed experiment file: file:line, no traceback, under 1 s"
TARGET = 10_000
LONGEST_S = 1.0


def run(budget: Budget) -> RowResult:
    """Check right files after random damage to their bytes and values."""
    tally = Tally("F13", TITLE, TARGET)
    corpus = Corpus(budget.folder)
    slowest_s, refused = 0.0, 0
    for number in range(budget.count(TARGET, 40)):
        if not budget.has_time():
            break
        damage = corpus.damage(budget.seed + number)
        slowest_s = max(slowest_s, damage.seconds)
        refused += damage.problems > 0
        slow = f"it took {damage.seconds:.1f} s" if damage.seconds >= LONGEST_S else ""
        tally.add(damage.error or slow, f"seed {budget.seed + number}")
    note = f"{refused} refused, slowest {slowest_s:.2f} s, peak {peak_memory_mb():.0f} MB"
    return tally.result(note)
