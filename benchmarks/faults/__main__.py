"""Inject the faults of the table F1 to F21 and count how often what is promised held.

    python -m benchmarks.faults [ROW ...] [--scale 1.0] [--seconds S] [--seed N] [--json]

Run from the root of the repository. `--scale 1` (the default) reaches the targets and takes the
better part of an hour on two cores; the suite runs a small share of each row. `--seconds` bounds
each row: what was reached by then is printed. The exit code is 1 if something did not hold.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: what is forked must have one thread

from benchmarks.faults.table import Budget, RowResult, find_rows, run_row

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE = "{:<5}{:>9}{:>9}{:>8}  {:<58} {}"


def main(arguments: Sequence[str]) -> int:
    """Run the rows, print the table and return the exit code."""
    logging.basicConfig(level=logging.ERROR)  # warnings about damage are what is wanted here
    known = find_rows()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="F1 and so on; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each target")
    parser.add_argument("--seconds", type=float, default=math.inf, help="time for each row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = [row.upper() for row in options.rows] or list(known)
    if unknown := [row for row in rows if row not in known]:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(known)}")
    results = []
    if not options.json:
        print(_LINE.format("row", "target", "reached", "s", "what must hold", ""), flush=True)
    for row in rows:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            budget = Budget(Path(folder), options.scale, options.seconds, options.seed)
            results.append(_run(row, budget))
        if not options.json:
            _print(results[-1])
    if options.json:
        print(json.dumps([result.to_json() for result in results], indent=2))
    return int(any(result.failures for result in results))


def _run(row: str, budget: Budget) -> RowResult:
    try:
        return run_row(row, budget)
    except Exception as error:  # noqa: BLE001 - a row that breaks must not hide the others
        traceback.print_exc()
        return RowResult(row, "the row itself failed", 1, failures=[f"{error!r}"])


def _print(result: RowResult) -> None:
    reached, seconds = str(result.reached), f"{result.seconds:.0f}"
    if result.absent:
        reached, seconds = "-", "-"
    note = result.absent or result.note
    print(_LINE.format(result.id, result.target, reached, seconds, result.title, note), flush=True)
    for failure in result.failures:
        print(f"     FAILED {failure}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
