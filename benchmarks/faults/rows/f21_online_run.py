"""F21: the processes of a run that learns online are killed at random times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.faults.online_run import KINDS, OnlineRun
from benchmarks.faults.table import Tally

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget, RowResult

TITLE = "online run, any process killed: goes on, nothing lost or doubled"
KILLS = 24


def run(budget: Budget) -> RowResult:
    """Kill buffer, policy state, rollout worker and driver at random.

    The short form kills the actors together, and then the driver.
    """
    tally = Tally("F21", TITLE, KILLS)
    random = budget.random()
    kinds: list[tuple[str, ...]] = [(kind,) for _ in range(KILLS // len(KINDS)) for kind in KINDS]
    random.shuffle(kinds)
    if budget.is_short:
        kinds = [("rollout", "manager", "buffer"), ("driver",)]
    online = OnlineRun(budget.folder)
    try:
        online.start()
        for kind in kinds:
            if budget.has_time():
                time.sleep(random.uniform(0, 1))
                tally.add(online.kill(*kind), f"{' and '.join(kind)} killed")
        episodes = len(online.acknowledged())
        problem = online.stop()
    finally:
        online.end()
    if problem:
        tally.add(problem, "at the end")
    return tally.result(f"{episodes} episodes acknowledged")
