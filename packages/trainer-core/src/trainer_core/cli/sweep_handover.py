"""The trials of a sweep in the hands of a runner that runs several side by side."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainer_core.engine.trial_lines import TrialLines
from trainer_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.protocols import SweepReport
    from trainer_core.results import RunResult

__all__ = ["hand_over"]

Record = dict[str, Any]


def hand_over(
    runner: Any,
    trials: Mapping[int, LoadedExperiment],
    records: Sequence[Record],
    save: Callable[[], None],
    *,
    quiet: bool,
) -> None:
    """Let a runner run trials, note how they end, and show what it tells of them.

    Args:
        runner: It has `sweep(experiments)`; if that takes a `report`, it tells as it goes.
        trials: The experiments that are left, by the number of their trial.
        records: All trials of `sweep.json`.
        save: Writes `sweep.json`; called before the first trial, and after each one of a runner
            that tells.
        quiet: Draw no table.
    """
    numbers, experiments = list(trials), list(trials.values())
    results: Sequence[RunResult]
    if "report" not in inspect.signature(runner.sweep).parameters:
        save()
        results = runner.sweep(experiments)
        for number, result in zip(numbers, results, strict=True):
            _note(records[number], result)
        return
    with _shown(records, quiet=quiet) as display:
        report = _Noting(records, numbers, display, save)
        results = runner.sweep(experiments, report=report)
    for number, result in zip(numbers, results, strict=True):
        if number in report.begun - report.ended:
            _note(records[number], result)


@contextmanager
def _shown(records: Sequence[Record], *, quiet: bool) -> Iterator[SweepReport]:
    """Show how trials go that run side by side: a table on a terminal, else lines; on stderr.

    Args:
        records: All trials of `sweep.json`.
        quiet: Only lines.
    """
    names = [record["name"] for record in records]
    if quiet or not _can_draw():
        yield TrialLines(names)
        return
    from trainer_core.cli.sweep_live import TrialTable

    with TrialTable(records, names) as table:
        yield table


class _Noting:
    """A report that notes in the records how trials end, and hands all it hears to a display.

    Attributes:
        begun: The trials that were started, by their number in the grid.
        ended: Those that have ended.
    """

    def __init__(
        self,
        records: Sequence[Record],
        numbers: Sequence[int],
        display: SweepReport,
        save: Callable[[], None],
    ) -> None:
        self.begun: set[int] = set()
        self.ended: set[int] = set()
        self._records = records
        self._numbers = numbers
        self._display = display
        self._save = save

    def begin(self, number: int) -> None:
        if not self.begun:
            self._save()
        self.begun.add(self._numbers[number])
        self._display.begin(self._numbers[number])

    def progress(
        self, number: int, step: int, total_steps: int, metrics: Mapping[str, float]
    ) -> None:
        self._display.progress(self._numbers[number], step, total_steps, metrics)

    def write(self, number: int, stream: str, text: str) -> None:
        self._display.write(self._numbers[number], stream, text)

    def end(self, number: int, result: RunResult, error: str = "") -> None:
        trial = self._numbers[number]
        self.ended.add(trial)
        _note(self._records[trial], result, error)
        self._display.end(trial, result, error)
        try:
            self._save()
        except StorageError as refused:  # the last one, when all have ended, is not passed over
            self._display.write(trial, "stderr", f"warning: {refused}\n")


def _note(record: Record, result: RunResult, error: str = "") -> None:
    """Write into the record of a trial how it ended."""
    record |= {
        "status": result.status,
        "step": result.step,
        "wall_s": result.wall_s,
        "metrics": result.metrics,
        "evaluation": result.evaluation,
    }
    if error:
        record["error"] = error


def _can_draw() -> bool:
    is_dumb = os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    return sys.stderr is not None and sys.stderr.isatty() and not is_dumb
