"""F4: one run that is killed ten times."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from benchmarks.faults import lives, runs
from benchmarks.faults.table import Tally

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget, RowResult

TITLE = "ten kills or pre-emptions of one run: the end is the same"
KILLS = 10
TARGET = 20


def run(budget: Budget) -> RowResult:
    """Kill a run, or ask it to stop, ten times at random; it resumes each time."""
    tally, random = Tally("F4", TITLE, TARGET), budget.random()
    kills = 3 if budget.is_short else KILLS
    config = runs.small_run(steps=60 * kills, every=6, keep=2)
    whole = budget.folder / "whole"
    length_s = lives.measure(config, whole)
    ended = 0
    for number in range(budget.count(TARGET, 2)):
        if not budget.has_time():
            break
        out_dir = budget.folder / "run"
        kind = signal.SIGKILL if number % 2 else signal.SIGTERM
        delays_s = [random.uniform(0.5, 1.5) * length_s / kills for _ in range(kills)]
        lived = lives.complete(config, out_dir, kind, delays_s)
        problem = lived.problem or lives.difference(out_dir, whole)
        tally.add(problem, f"run {number}, {kind.name}, exit codes {lived.codes}")
        ended += sum(code != 0 for code in lived.codes)
        shutil.rmtree(out_dir)
    return tally.result(f"{kills} each, every other run by SIGTERM; {ended} lives ended early")
