"""F3: SIGKILL of a training run, at any time."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.faults import lives, runs
from benchmarks.faults.table import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "killed while training: the end is the uninterrupted one's"
TARGET = 200


class _Kind(NamedTuple):
    name: str
    config: dict[str, Any] | Path
    share: float


def run(budget: Budget) -> RowResult:
    """Kill runs of several kinds at random times, resume them, compare their ends bit for bit."""
    tally, random = Tally("F3", TITLE, TARGET), budget.random()
    kinds = _kinds(budget)
    lengths_s = {}
    for kind in kinds:
        (budget.folder / kind.name).mkdir()
        lengths_s[kind.name] = lives.measure(kind.config, budget.folder / kind.name / "whole")
    killed = Counter(dict.fromkeys(lengths_s, 0))
    for number, kind in _turns(kinds, budget):
        if not budget.has_time():
            break
        out_dir = budget.folder / kind.name / "run"
        delay_s = random.uniform(0, lengths_s[kind.name])
        lived = lives.complete(kind.config, out_dir, signal.SIGKILL, [delay_s])
        problem = lived.problem or lives.difference(out_dir, out_dir.with_name("whole"))
        tally.add(problem, f"{kind.name} {number}, killed after {delay_s:.3f} s")
        killed[kind.name] += lived.codes[0] == -signal.SIGKILL
        shutil.rmtree(out_dir)
    counts = ", ".join(f"{name} {count}" for name, count in killed.items())
    return tally.result(f"killed before their end: {counts}")


def _turns(kinds: list[_Kind], budget: Budget) -> Iterator[tuple[int, _Kind]]:
    """Let the kinds take turns, so that a run that is cut short has tried them all."""
    counts = {kind.name: budget.count(round(TARGET * kind.share)) for kind in kinds}
    for number in range(max(counts.values())):
        yield from ((number, kind) for kind in kinds if number < counts[kind.name])


def _kinds(budget: Budget) -> list[_Kind]:
    ddp = {"_type_": "ddp", "nproc_per_node": 2}
    small = {workers: runs.small_run(steps=40, every=3, keep=2) for workers in (0, 2)}
    for workers, config in small.items():
        config["data"]["num_workers"] = workers
    kinds = [
        _Kind("one-process", small[0], 0.25),
        _Kind("two-workers", small[2], 0.2),
        _Kind("il", runs.il_run(budget.folder), 0.2),
        _Kind("il-two-workers", runs.il_run(budget.folder, num_workers=2), 0.15),
    ]
    if budget.is_short:
        return [kinds[0], kinds[-1]]
    return [
        *kinds,
        _Kind("two-processes", {**small[0], "runner": ddp}, 0.1),
        _Kind("two-processes-two-workers", {**small[2], "runner": ddp}, 0.1),
    ]
