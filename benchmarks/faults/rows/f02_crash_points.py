"""F2: every point at which a save can be cut off, by a kill or by a power cut."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.faults import runs
from benchmarks.faults.disk import Operation, cut_off, watch_disk
from benchmarks.faults.forks import fork, run_forked
from benchmarks.faults.powerloss import Tree, crash_states, materialize, read_tree, replay
from benchmarks.faults.table import Tally

from trainer_core.checkpoint.layout import LATEST, list_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "cut off at any operation: the newest committed state is there"
STEPS, KEPT = 3, 2
RESUMED_EVERY = 25
"""One state in so many is also trained to its end."""


def run(budget: Budget) -> RowResult:
    """Record the operations of runs, then try every end that they could have had."""
    runs.train(runs.small_run(steps=STEPS, keep=STEPS), budget.folder / "whole")
    states = {
        step: runs.contents_of(path)
        for step, path in list_steps(budget.folder / "whole" / "checkpoints")
    }
    tally, notes = Tally("F2", TITLE, 0), []
    for is_async in (False, True):
        folder = budget.folder / ("async" if is_async else "sync")
        folder.mkdir()
        config = runs.small_run(steps=STEPS, keep=KEPT, is_async=is_async)
        runs.train(config, folder / "kept")
        end = runs.end_of(folder / "kept")
        operations = _record(config, folder)
        trees = list(_distinct_states(str(folder / "recorded"), operations))
        tally.row.target += len(operations) + len(trees)
        notes.append(f"{folder.name}: {len(operations)} operations, {len(trees)} states")
        for number, (point, committed, tree) in enumerate(budget.sample(trees, least=15)):
            if budget.has_time():
                problem = _power_cut_problem(tree, committed, folder / "cut", states)
                if not problem and number % RESUMED_EVERY == 0:
                    problem = _resume_problem(config, folder / "cut", end)
                place = _shown(operations[point - 1], folder) if point else "the start"
                tally.add(problem, f"power cut after {place}, state {number}")
                shutil.rmtree(folder / "cut", ignore_errors=True)
        for number in budget.sample(list(range(len(operations))), least=2):
            if budget.has_time():
                problem = _kill_at(number, config, folder, states, end)
                tally.add(problem, f"killed at {_shown(operations[number], folder)}")
    return tally.result(f"{STEPS} saves each, after a power cut; {'; '.join(notes)}")


def _power_cut_problem(
    tree: Tree, committed: int, out_dir: Path, states: dict[int, dict[str, str]]
) -> str:
    materialize(tree, out_dir)
    return runs.newest_problem(out_dir / "checkpoints", states, committed)


def _record(config: dict[str, Any], folder: Path) -> list[Operation]:
    out_dir, file = folder / "recorded", folder / "operations.pickle"
    out_dir.mkdir()

    def record() -> None:
        operations: list[Operation] = []
        with watch_disk(out_dir, operations.append):
            runs.train(config, out_dir)
        file.write_bytes(pickle.dumps(operations))

    log = folder / "log.txt"
    code = run_forked(record, log)
    assert code == 0, log.read_text()
    operations: list[Operation] = pickle.loads(file.read_bytes())
    assert replay(str(out_dir), operations) == read_tree(out_dir), "the shim missed an operation"
    return operations


def _distinct_states(root: str, operations: Sequence[Operation]) -> Iterator[tuple[int, int, Tree]]:
    """Yield each state once, with the number of operations and the newest committed step."""
    seen: set[tuple[int, bytes]] = set()
    for point in range(len(operations) + 1):
        committed = _committed(operations[:point])
        for tree in crash_states(root, operations[:point]):
            checkpoints = {k: v for k, v in tree.items() if k.startswith("checkpoints")}
            digest = hashlib.sha256(pickle.dumps(sorted(checkpoints.items()))).digest()
            if (committed, digest) not in seen:
                seen.add((committed, digest))
                yield point, committed, tree


def _committed(operations: Sequence[Operation]) -> int:
    """Return the step that LATEST names: it is moved when a checkpoint is on the disk."""
    named = {op.path: op.data for op in operations if op.kind == "write"}
    moves = [named[op.path] for op in operations if op.target.endswith(f"/{LATEST}")]
    return int(moves[-1].decode().strip().removeprefix("step-")) if moves else 0


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(
    number: int,
    config: dict[str, Any],
    folder: Path,
    states: dict[int, dict[str, str]],
    end: dict[str, Any],
) -> str:
    """Kill a run before its n-th operation, in the middle of it if it is a write; resume it."""
    out_dir = folder / f"killed-{number}"
    out_dir.mkdir()
    strike = cut_off(number, _kill_self)

    def work() -> None:
        with watch_disk(out_dir, strike):
            runs.train(config, out_dir)

    child = fork(work, folder / "log.txt")
    code = child.wait()
    if code != -signal.SIGKILL:
        return f"it ended with {code} and not by the kill: {child.output()[-300:]}"
    visible = [step for step, _ in list_steps(out_dir / "checkpoints")]
    problem = runs.newest_problem(out_dir / "checkpoints", states, max(visible, default=0))
    return problem or _resume_problem(config, out_dir, end)


def _resume_problem(config: dict[str, Any], out_dir: Path, end: dict[str, Any]) -> str:
    log = out_dir.parent / "resume.txt"
    log.unlink(missing_ok=True)
    code = run_forked(partial(_train, config, out_dir), log)
    if code:
        return f"the resumed run failed: {log.read_text()[-300:]}"
    return runs.describe_difference(runs.end_of(out_dir), end)


def _train(config: dict[str, Any], out_dir: Path) -> None:
    runs.train(config, out_dir)


def _shown(operation: Operation, folder: Path) -> str:
    return f"{operation.kind} {operation.path.removeprefix(str(folder))}"
