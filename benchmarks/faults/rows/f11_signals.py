"""F11: SIGTERM, SIGINT and SIGUSR1 at any time: building, loading, training, measuring."""

from __future__ import annotations

import shutil
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.faults import lives, runs
from benchmarks.faults.forks import fork
from benchmarks.faults.table import Tally

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

    from trainer_core.engine.built import Experiment

TITLE = "asked to stop at any time: saved, code 75, within a step and a save"
TARGET = 100
LONGEST_S = 2.0
"""Far above a step and a save of these runs, for a busy machine."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_PAUSE_S = 0.004


def run(budget: Budget) -> RowResult:
    """Signal a run with slow data and an evaluation at a random time, then let it end."""
    tally, random = Tally("F11", TITLE, TARGET), budget.random()
    config = runs.small_run(steps=20, every=5, keep=2)
    config["data"]["val_size"] = 12
    slow = budget.folder / "whole"
    length_s = lives.measure(config, slow, _slow_down)
    slowest_s, before_step, second = 0.0, 0, 0
    for number in range(budget.count(TARGET, 6)):
        if not budget.has_time():
            break
        out_dir = budget.folder / "run"
        config["data"]["num_workers"] = 2 if number % 4 == 3 else 0
        kind = SIGNALS[number % len(SIGNALS)]
        delay_s = random.uniform(0, length_s)
        lived = lives.complete(config, out_dir, kind, [delay_s], _slow_down)
        problem = lived.problem or lives.difference(out_dir, slow)
        if lived.codes[0] not in {0, 75}:
            problem = problem or f"it ended with {lived.codes[0]}"
        slowest_s = max(slowest_s, *lived.ended_s, 0.0)
        if slowest_s > LONGEST_S:
            problem = problem or f"it took {slowest_s:.1f} s"
        before_step += delay_s < 0.1 * length_s
        tally.add(problem, f"{kind.name} {number} after {delay_s:.3f} s of {length_s:.3f} s")
        shutil.rmtree(out_dir)
    for number in range(budget.count(10, 1)):
        second += 1
        problem = _second_signal_problem(config, budget.folder / "twice", random.uniform(0, 0.1))
        if problem:
            tally.add(problem, f"second signal {number}")
    note = f"slowest {1000 * slowest_s:.0f} ms; {before_step} before the first steps"
    return tally.result(f"{note}; a second signal left at once {second} times")


class _SlowData:
    """Data that take their time, so that signals come while they are read."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Any) -> Any:
        time.sleep(_PAUSE_S)
        return self.dataset.__getitems__(indices)


class _Evaluator:
    """Twenty episodes, each of which takes a moment."""

    def evaluate(self, context: Any) -> dict[str, Any]:
        done = 0
        for _ in range(20):
            if context.interrupted():
                break
            time.sleep(_PAUSE_S)
            done += 1
        return {"success_rate": 0.5, "n": done}


def _slow_down(experiment: Experiment) -> None:
    time.sleep(10 * _PAUSE_S)  # what is downloaded or recorded before the first step
    experiment.dataset = _SlowData(experiment.dataset)
    experiment.val_dataset = _SlowData(experiment.val_dataset)
    experiment.evaluator = _Evaluator()
    experiment.evaluate_every = 7


def _second_signal_problem(config: dict[str, Any], out_dir: Path, delay_s: float) -> str:
    """Signal twice during a step that takes a minute."""
    child = fork(partial(_train_slowly, config, out_dir), out_dir.with_suffix(".log"))
    deadline = time.monotonic() + 60
    while "a long step" not in child.output() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay_s)
    child.send(signal.SIGTERM)
    time.sleep(0.05)
    began = time.perf_counter()
    child.send(signal.SIGTERM)
    code = child.wait()
    child.log.unlink()
    took_s = time.perf_counter() - began
    if code != 128 + signal.SIGTERM:
        return f"it ended with {code}"
    return f"it took {took_s:.1f} s" if took_s > LONGEST_S else ""


def _train_slowly(config: dict[str, Any], out_dir: Path) -> None:
    def take_long(experiment: Experiment) -> None:
        def train_step(*arguments: Any, **where: Any) -> Any:
            del arguments, where
            print("a long step", flush=True)
            time.sleep(60)

        experiment.trainer.train_step = train_step

    runs.train(config, out_dir, change=take_long)
