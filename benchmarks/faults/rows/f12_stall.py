"""F12: how long an asynchronous save holds the training up."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.faults.table import Budget, RowResult, Tally

TITLE = "async save stalls <= 0.25 of a sync one, 0.5 of dcp.async_save"
_RATIO = re.compile(r"^stall / (.+): ([0-9.]+) \(target at most ([0-9.]+)\)$", re.MULTILINE)


def run(budget: Budget) -> RowResult:
    """Run `benchmarks/checkpoint.py` for 400 MB; each of its two ratios is one injection."""
    if budget.is_short:
        return RowResult("F12", TITLE, 2, absent="in the long form: it measures time")
    tally = Tally("F12", TITLE, 2)
    command = [sys.executable, "benchmarks/checkpoint.py", "400", "--folder", str(budget.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    ratios = _RATIO.findall(done.stdout)
    for name, ratio, target in ratios:
        problem = f"{ratio}, target {target}" if float(ratio) > float(target) else ""
        tally.add(problem, f"stall / {name}")
    if not ratios:
        tally.add(f"it ended with {done.returncode}: {done.stderr[-300:]}", "the benchmark")
    return tally.result("; ".join(f"{ratio} of {name}" for name, ratio, _ in ratios))
