"""F17: a disk that is full, fails or is read-only, at each operation of a run."""

from __future__ import annotations

import errno
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.faults import runs
from benchmarks.faults.disk import Operation, watch_disk
from benchmarks.faults.forks import run_forked
from benchmarks.faults.table import Tally

from trainer_core.checkpoint.layout import list_steps
from trainer_core.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "disk refuses: training goes on or says why; nothing is lost"
STEPS = 4
_REFUSED = 3


def run(budget: Budget) -> RowResult:
    """Refuse each operation in turn, once and from then on; then resume on a sound disk.

    The run must end as if nothing had been, or with an error that names a file; what was
    committed before stays, and the resumed run ends bit for bit in the same state.
    """
    config = runs.small_run(steps=STEPS, keep=2, is_async=False)
    runs.train(runs.small_run(steps=STEPS, keep=STEPS), budget.folder / "whole")
    states = {
        step: runs.contents_of(path)
        for step, path in list_steps(budget.folder / "whole" / "checkpoints")
    }
    runs.train(config, budget.folder / "kept")
    wanted = runs.contents_of(list_steps(budget.folder / "kept" / "checkpoints")[0][1])
    count = _count_operations(config, budget.folder / "counted")
    faults = [
        (number, code, lasting)
        for number in range(count)
        for code in (errno.ENOSPC, errno.EIO, errno.EROFS)
        for lasting in (False, True)
    ]
    tally = Tally("F17", TITLE, len(faults))
    ended = {0: 0, _REFUSED: 0}
    for number, code, lasting in budget.sample(faults, least=8):
        if not budget.has_time():
            break
        out_dir = budget.folder / "run"
        log = budget.folder / "log.txt"
        log.unlink(missing_ok=True)
        is_async = bool(number % 2)
        config = runs.small_run(steps=STEPS, keep=2, is_async=is_async)
        work = partial(_train_on_bad_disk, config, out_dir, number, code, lasting)
        status = run_forked(work, log)
        name = f"{errno.errorcode[code]} {'from' if lasting else 'at'} operation {number}"
        if status not in ended:
            tally.add(f"it ended with {status}: {log.read_text()[-400:]}", name)
        else:
            ended[status] += 1
            tally.add(_judge(config, out_dir, states, wanted), name)
        shutil.rmtree(out_dir)
    note = f"{count} operations; {ended[0]} runs went on, {ended[_REFUSED]} said why not"
    return tally.result(note)


def _count_operations(config: dict[str, Any], out_dir: Path) -> int:
    out_dir.mkdir()
    seen: list[Operation] = []
    with watch_disk(out_dir, seen.append):
        runs.train(config, out_dir)
    return len(seen)


def _train_on_bad_disk(
    config: dict[str, Any], out_dir: Path, number: int, code: int, lasting: bool
) -> int:
    out_dir.mkdir()
    count = 0

    def refuse(operation: Operation) -> int | None:
        nonlocal count
        count += 1
        is_removal = operation.kind in {"unlink", "rmdir"} and code == errno.ENOSPC
        is_hit = count > number if lasting else count == number + 1
        if not is_hit or is_removal:  # a full disk still deletes
            return None
        if operation.kind == "write" and code == errno.ENOSPC and count == number + 1:
            return len(operation.data) // 2 or None  # what still fitted
        raise OSError(code, os.strerror(code), operation.path)

    with watch_disk(out_dir, refuse):
        try:
            runs.train(config, out_dir)
        except StorageError as error:
            print(error)
            return _REFUSED if str(out_dir) in str(error) else 1
    return 0


def _judge(
    config: dict[str, Any],
    out_dir: Path,
    states: dict[int, dict[str, str]],
    wanted: dict[str, str],
) -> str:
    visible = [step for step, _ in list_steps(out_dir / "checkpoints")]
    problem = runs.newest_problem(out_dir / "checkpoints", states, max(visible, default=0))
    if problem:
        return problem
    log = out_dir / "log.txt"
    if run_forked(partial(_resume, config, out_dir), log):
        return f"the resumed run failed: {log.read_text()[-300:]}"
    found = runs.contents_of(list_steps(out_dir / "checkpoints")[0][1])
    return runs.describe_difference(found, wanted)


def _resume(config: dict[str, Any], out_dir: Path) -> None:
    runs.train(config, out_dir)
