"""F18: a run that makes no progress any more."""

from __future__ import annotations

import ctypes
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.faults import runs
from benchmarks.faults.forks import fork
from benchmarks.faults.table import Tally

from trainer_core.engine.watchdog import STACKS

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

    from trainer_core.engine.built import Experiment

TITLE = "hung: ended within watchdog_s + 5 s, with every stack"
TARGET = 20
LIMIT_S = 0.5
LATE_S = 5.0
PLACES = ("data", "step", "validation", "evaluation", "loader worker")


def run(budget: Budget) -> RowResult:
    """Hang in each place in turn; the last time, in native code that lets no thread run."""
    tally = Tally("F18", TITLE, TARGET)
    config = runs.small_run(steps=30, every=5)
    config["data"]["val_size"] = 8
    config["trainer"]["val_every_n_steps"] = 10
    runs.train(runs.small_run(steps=2), budget.folder / "imports")
    slowest_s = 0.0
    for number in range(budget.count(TARGET, 3)):
        if not budget.has_time():
            break
        place = PLACES[number % len(PLACES)]
        problem, late_s = _hang(config, budget.folder / f"run-{number}", place)
        slowest_s = max(slowest_s, late_s)
        tally.add(problem, f"{place} {number}")
    note = f"limit {LIMIT_S} s, at most {slowest_s:.1f} s late"
    if not budget.is_short:
        problem, late_s = _hang(config, budget.folder / "native", "native code")
        if problem:
            tally.add(problem, "native code")
        note += f"; in native code that holds the interpreter {late_s:.1f} s late, on stderr only"
    return tally.result(note)


def _hang(config: dict[str, Any], out_dir: Path, place: str) -> tuple[str, float]:
    """Run until it hangs; return what is wrong with its end, and how late that came."""
    workers = 1 if place == "loader worker" else 0
    config = {**config, "run": {**config["run"], "watchdog_s": LIMIT_S}}
    config["data"] = {**config["data"], "num_workers": workers}
    log = out_dir.with_suffix(".log")
    child = fork(partial(_train, config, out_dir, place), log)
    while "hangs now" not in child.output() and child.is_running():
        time.sleep(0.005)
    began = time.perf_counter()
    code = child.wait()
    late_s = time.perf_counter() - began - LIMIT_S
    stacks = out_dir / STACKS / "rank-0.txt"
    is_native = place == "native code"
    text = stacks.read_text() if stacks.exists() and not workers else child.output()
    if code != 1:
        return f"it ended with {code}: {child.output()[-300:]}", late_s
    if "wait_for_ever" not in text or (not is_native and not stacks.exists()):
        return f"the stack is missing: {text[-300:]}", late_s
    allowed_s = LATE_S + (LIMIT_S + 10 if is_native else 0)
    return (f"{late_s:.1f} s late" if late_s > allowed_s else ""), late_s


def _train(config: dict[str, Any], out_dir: Path, place: str) -> None:
    runs.train(config, out_dir, change=partial(_put_hang, place=place))


def _put_hang(experiment: Experiment, place: str) -> None:
    step = experiment.trainer.train_step

    def hang_in_step(*arguments: Any, **where: Any) -> Any:
        if where["iterations"] == 4:
            wait_for_ever(is_native=place == "native code")
        return step(*arguments, **where)

    if place in {"step", "native code"}:
        experiment.trainer.train_step = hang_in_step
    elif place == "validation":
        experiment.val_dataset = HangingData(experiment.val_dataset, 0)
    elif place == "evaluation":
        experiment.evaluator, experiment.evaluate_every = HangingEvaluator(), 5
    else:
        experiment.dataset = HangingData(experiment.dataset, 4)


class HangingData:
    """Data of which one batch never comes."""

    def __init__(self, dataset: Any, batches: int) -> None:
        self.dataset = dataset
        self.left = batches

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitems__(self, indices: Any) -> Any:
        """Return a batch, or never."""
        self.left -= 1
        if self.left < 0:
            wait_for_ever()
        return self.dataset.__getitems__(indices)


class HangingEvaluator:
    """An evaluation whose second episode never ends."""

    def evaluate(self, context: Any) -> dict[str, Any]:
        """Never return."""
        context.interrupted()
        wait_for_ever()
        return {}


def wait_for_ever(*, is_native: bool = False) -> None:
    """Hang; in native code the interpreter is held as well."""
    print("hangs now", flush=True)
    if is_native:
        ctypes.PyDLL(None).sleep(600)
    time.sleep(600)
