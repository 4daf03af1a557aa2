"""F21: the processes of a run that learns online are killed at random times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.faults.online_run import KINDS, OnlineRun
from benchmarks.faults.table import RowResult, Tally

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget

TITLE = "online run, any process killed: goes on, nothing lost or doubled"
KILLS = 24


def run(budget: Budget) -> RowResult:
    """Kill buffer, policy state, rollout worker and driver in a random order.

    The short form is among the tests of trainer-ray, which have a cluster already.
    """
    if budget.is_short:
        return RowResult("F21", TITLE, KILLS, absent="the tests of trainer-ray kill each kind once")
    tally = Tally("F21", TITLE, KILLS)
    random = budget.random()
    kinds = [kind for _ in range(KILLS // len(KINDS)) for kind in KINDS]
    random.shuffle(kinds)
    online = OnlineRun(budget.folder)
    try:
        online.start()
        for kind in kinds:
            if budget.has_time():
                time.sleep(random.uniform(0, 2))
                tally.add(online.kill(kind), f"{kind} killed")
        episodes = len(online.acknowledged())
        problem = online.stop()
    finally:
        online.end()
    if problem:
        tally.add(problem, "at the end")
    return tally.result(f"{episodes} episodes acknowledged")
