"""F9: SIGKILL of a worker, of a driver, and of a machine's raylet under Ray."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.faults.table import Tally

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget, RowResult

TITLE = "a worker, driver or machine of Ray killed: goes on within 20 s, nothing lost"
KILLS = 20
KINDS = 3
LONGEST_S = 20.0
MOST_LOAD = 4


def run(budget: Budget) -> RowResult:
    """Kill one after the other in a run on two machines."""
    tally = Tally("F9", TITLE, KILLS)
    command = [sys.executable, "-m", "benchmarks.faults.ray_kills", str(budget.folder)]
    command += [str(budget.count(KILLS, KINDS)), str(budget.seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    took_s: dict[str, list[float]] = {}
    log = budget.folder / "kills.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            answer = json.loads(line)
            kind, seconds = answer["kind"], answer["took_s"]
            took_s.setdefault(kind, []).append(seconds)
            is_late = seconds > LONGEST_S and not budget.is_short and not _is_overloaded()
            late = f"it took {seconds:.1f} s" if is_late else ""
            tally.add(answer["problem"] or late, f"{kind} {number}")
            if not budget.has_time():
                process.terminate()
                break
    if not took_s:
        tally.add(log.read_text()[-600:], "the start")
    note = ", ".join(
        f"{kind} median {statistics.median(values):.1f} s, slowest {max(values):.1f} s"
        for kind, values in took_s.items()
    )
    return tally.result(f"{note}; load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores")


def _is_overloaded() -> bool:
    """Return whether others use the machine so much that times are told and not judged."""
    return os.getloadavg()[0] > MOST_LOAD * (os.cpu_count() or 1)
