"""Runners of an invented wheel that train nothing; all but the first take whole grids."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from trainer_core.errors import Interrupted, StorageError
from trainer_core.results import RunResult


class Runner:
    """Fails, stops or waits where it is told to."""

    def __init__(
        self, fails_at: int = -1, stops_at: int = -1, waits_s: float = 0.0, peeks: bool = False
    ) -> None:
        self.fails_at, self.stops_at, self.waits_s = fails_at, stops_at, waits_s
        self.peeks = peeks

    def run(self, experiment: Any) -> RunResult:
        run = experiment.config.run
        out_dir = Path(run.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        with (out_dir / "started").open("a") as file:
            file.write("x")
        (out_dir / "resume").write_text(str(run.resume))
        if run.seed == self.fails_at:
            msg = "the disk is full"
            raise StorageError(msg)
        if run.seed == self.stops_at:
            msg = "stopped at step 3"
            raise Interrupted(msg)
        time.sleep(self.waits_s)
        metrics = {"loss": 1.0 / (1 + run.seed), "step_s": 0.5}
        result = RunResult("completed", 7, metrics, {"success_rate": 0.5}, out_dir, 2.0)
        summary = {"status": "completed", "step": 7, "wall_s": 2.0, "metrics": metrics}
        summary["evaluation"] = result.evaluation
        (out_dir / "summary.json").write_text(json.dumps(summary))
        return result


class GridRunner(Runner):
    """Tells nothing of its trials."""

    def sweep(self, experiments: list[Any]) -> list[RunResult]:
        return [self.run(experiment) for experiment in experiments]


class TellingRunner(Runner):
    """Tells all of them."""

    def sweep(self, experiments: list[Any], report: Any) -> list[RunResult]:
        results: list[RunResult] = []
        for number, experiment in enumerate(experiments):
            report.begin(number)
            report.progress(number, 3, 7, {"loss": 0.5})
            report.write(number, "stdout", "step 3/7  loss 0.5\nhello\n")
            report.write(number, "stderr", "warning: hot\n")
            try:
                result, error = self.run(experiment), ""
            except StorageError as refused:
                result, error = RunResult("failed", 3), str(refused)
            except Interrupted:
                return results + [RunResult("interrupted", 0)] * (len(experiments) - number)
            results.append(result)
            report.end(number, result, error)
            self.look(number)
        return results

    def look(self, number: int) -> None:
        if self.peeks:
            trials = json.loads(Path("out/sweep/sweep.json").read_text())["trials"]
            sys.stdout.write(f"after {number}: {[trial['status'] for trial in trials]}\n")


class LeavingRunner(Runner):
    """Gets a signal when its first trial has ended."""

    def sweep(self, experiments: list[Any], report: Any) -> None:
        report.begin(0)
        report.end(0, self.run(experiments[0]))
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
