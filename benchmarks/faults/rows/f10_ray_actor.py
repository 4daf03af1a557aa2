"""F10: a replay buffer that is killed, loses its power, or is killed as an actor of Ray."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import statistics
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from benchmarks.faults.disk import Operation, cut_off, watch_disk
from benchmarks.faults.forks import fork, run_forked
from benchmarks.faults.powerloss import Tree, crash_states, materialize, read_tree, replay
from benchmarks.faults.replay import problem, work
from benchmarks.faults.table import Tally

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "replay buffer killed: nothing acknowledged lost or doubled"
KILLS = 20


def run(budget: Budget) -> RowResult:
    """Cut a buffer off at each operation in both ways; then kill the actor under producers.

    The short form leaves the actor out: the tests of trainer-ray kill it each time.
    """
    operations, acknowledged = _record(budget.folder)
    states = _power_cuts(str(budget.folder / "recorded"), operations, acknowledged)
    tally = Tally("F10", TITLE, len(operations) + len(states) + KILLS)
    for number, (point, last, tree) in enumerate(budget.sample(states, least=10)):
        if budget.has_time():
            cut = budget.folder / "cut"
            materialize(tree, cut)
            found = problem(cut, last, may_be_damaged=True)
            tally.add(found, f"power cut after operation {point}, state {number}")
            shutil.rmtree(cut)
    for number in budget.sample(list(range(len(operations))), least=5):
        if budget.has_time():
            operation = operations[number]
            name = f"killed at operation {number}, {operation.kind} {operation.path}"
            tally.add(_kill_at(number, budget.folder / f"killed-{number}"), name)
    note = f"{len(operations)} operations, {len(states)} power cuts"
    if budget.is_short:
        return tally.result(note)
    return tally.result(f"{note}; {_kill_actor(tally, budget)}")


def _record(folder: Path) -> tuple[list[Operation], list[int]]:
    """Return all operations, and after each what was acknowledged before it."""
    recorded, file = folder / "recorded", folder / "operations.pickle"
    recorded.mkdir()

    def record() -> None:
        operations: list[Operation] = []
        acknowledged: list[int] = []
        last = [-1]

        def note(operation: Operation) -> None:
            operations.append(operation)
            acknowledged.append(last[-1])

        with watch_disk(recorded, note):
            work(recorded, last.append)
        file.write_bytes(pickle.dumps((operations, [*acknowledged, last[-1]])))

    code = run_forked(record, folder / "log.txt")
    assert code == 0, (folder / "log.txt").read_text()
    operations, acknowledged = pickle.loads(file.read_bytes())
    assert replay(str(recorded), operations) == read_tree(recorded), "the shim missed an operation"
    return operations, acknowledged


def _power_cuts(
    root: str, operations: list[Operation], acknowledged: list[int]
) -> list[tuple[int, int, Tree]]:
    """Return each state that a power cut may leave, with what was acknowledged by then."""
    seen: dict[tuple[int, tuple[Any, ...]], tuple[int, int, Tree]] = {}
    for point in range(len(operations) + 1):
        for tree in crash_states(root, operations[:point]):
            key = (acknowledged[point], tuple(sorted(tree.items())))
            seen.setdefault(key, (point, acknowledged[point], tree))
    return list(seen.values())


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(number: int, folder: Path) -> str:
    """Kill a process before its n-th operation, in the middle of it if it is a write."""
    folder.mkdir()
    told = folder.with_suffix(".acknowledged")
    told.write_text("-1\n")
    strike = cut_off(number, _kill_self)

    def live() -> None:
        with told.open("a", buffering=1) as file, watch_disk(folder, strike):
            work(folder, lambda last: file.write(f"{last}\n"))

    child = fork(live, folder.with_suffix(".log"))
    code = child.wait()
    if code != -signal.SIGKILL:
        return f"it ended with {code} and not by the kill: {child.output()[-300:]}"
    return problem(folder, int(told.read_text().split()[-1]))


def _kill_actor(tally: Tally, budget: Budget) -> str:
    """Kill the actor in a cluster of its own; return how it went."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", os.urandom(32).hex())
    from benchmarks.faults.replay_actor import kill_often

    from trainer_ray.cluster import cluster
    from trainer_ray.options import Options

    kills = budget.count(KILLS)
    with (
        (budget.folder / "ray.txt").open("w") as log,
        redirect_stdout(log),  # Ray tells of every kill
        redirect_stderr(log),
        cluster(Options()),
    ):
        done = kill_often(budget.folder, kills, budget.random())
    for number in range(kills):
        tally.add(done.problem, f"kill {number} of the actor")
    slowest = max(done.back_s)
    return (
        f"{kills} kills under Ray, {done.acknowledged} adds acknowledged, back after "
        f"{statistics.median(done.back_s):.1f} s (slowest {slowest:.1f})"
    )
