"""F1: SIGKILL while checkpoints are written."""

from __future__ import annotations

import shutil
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.faults import runs
from benchmarks.faults.forks import fork
from benchmarks.faults.table import Tally

from trainer_core.checkpoint.layout import LATEST, list_steps

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "killed while saving: the newest committed state is there"
STEPS = 60


def run(budget: Budget) -> RowResult:
    """Kill a run that saves after every step at a random time; look at what it left.

    A folder that has its final name, and what LATEST names, count as committed. Every other run
    saves while it goes on training.
    """
    tally, random = Tally("F1", TITLE, 1000), budget.random()
    states = _right_states(budget.folder / "whole")
    during = 0
    for number in range(budget.count(1000, 6)):
        if not budget.has_time():
            break
        out_dir = budget.folder / "run"
        config = runs.small_run(steps=STEPS, keep=3, is_async=bool(number % 2))
        child = fork(partial(_run, config, out_dir), budget.folder / "log.txt")
        root = out_dir / "checkpoints"
        _wait_for(root)
        delay_s = random.uniform(0, 0.15)
        time.sleep(delay_s)
        child.send(signal.SIGKILL)
        child.wait()
        during += any(root.glob(".tmp-*"))
        tally.add(_judge(root, states), f"run {number}, {1000 * delay_s:.1f} ms")
        shutil.rmtree(out_dir)
    return tally.result(f"{during} of the kills hit a save")


def _right_states(out_dir: Path) -> dict[int, dict[str, str]]:
    runs.train(runs.small_run(steps=STEPS, keep=STEPS), out_dir)
    return {step: runs.contents_of(path) for step, path in list_steps(out_dir / "checkpoints")}


def _run(config: dict[str, object], out_dir: Path) -> None:
    runs.train(config, out_dir)


def _wait_for(root: Path) -> None:
    deadline = time.monotonic() + 30
    while not root.exists() and time.monotonic() < deadline:
        time.sleep(0.0005)


def _judge(root: Path, states: dict[int, dict[str, str]]) -> str:
    visible = [step for step, _ in list_steps(root)]
    latest = root / LATEST
    hinted = [int(latest.read_text().strip().removeprefix("step-"))] if latest.exists() else []
    return runs.newest_problem(root, states, max([*visible, *hinted], default=0))
