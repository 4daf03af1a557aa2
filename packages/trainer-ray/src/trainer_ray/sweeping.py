"""The trials of a sweep side by side in a cluster, as many at a time as it has room for."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.errors import ConfigError
from trainer_core.engine.trial_lines import TrialLines
from trainer_core.errors import Interrupted, TrainerError
from trainer_core.results import RunResult
from trainer_ray.cluster import cluster
from trainer_ray.driver import passing_on_signals, require_storage
from trainer_ray.job import Job
from trainer_ray.room import Room, require_resources
from trainer_ray.software import with_wheels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.protocols import SweepReport
    from trainer_ray.options import Options

__all__ = ["launch_all"]

_GLANCE_S = 0.1


def launch_all(
    experiments: Sequence[LoadedExperiment],
    options: Options,
    report: SweepReport | None = None,
) -> list[RunResult]:
    """Run the trials of a sweep, as many at a time as the cluster has room for.

    Args:
        experiments: The trials.
        options: The runner's, the same for all.
        report: Hears how they go; None: lines on stderr.

    Returns:
        One result for each, `failed` if it was; those that a signal kept from starting are
        `interrupted`. If a trial was given up before its workers began, Ray cannot be shut down in
        this process any more, which then ends without that, with the exit code of the sweep.

    Raises:
        UserError: There is no such cluster, or it cannot hold the workers of a trial.
    """
    if not experiments:
        return []
    require_storage(options)
    first = experiments[0]
    options = replace(options, runtime_env=with_wheels(first, options.runtime_env))
    report = report or TrialLines([Path(each.config.run.out_dir).name for each in experiments])
    with redirect_stdout(sys.stderr), ExitStack() as connection:  # where Ray's messages belong
        connection.enter_context(cluster(options))
        places = require_resources(first, options) // options.num_workers
        trials = [_Trial(n, each, options, report) for n, each in enumerate(experiments)]
        _run_all(trials, places, Room(options))
        if any(trial.is_stuck for trial in trials):
            is_interrupted = any(trial.result.status == "interrupted" for trial in trials)
            code = Interrupted.exit_code if is_interrupted else TrainerError.exit_code
            atexit.register(_leave, code, connection.pop_all())
    return [trial.result for trial in trials]


def _run_all(trials: Sequence[_Trial], places: int, room: Room) -> None:
    """Keep every place taken until all trials have ended, or a signal has come."""
    wishes: list[str] = []  # heard between two glances: a trial may be half started in a handler
    with passing_on_signals(wishes.append):
        while any(not trial.has_ended for trial in trials):
            for trial in trials if wishes else ():
                trial.ask_to_stop(wishes[0])
            free = places - sum(trial.is_running for trial in trials)
            for trial in [each for each in trials if each.is_waiting][:free]:
                trial.start()
            running = [trial for trial in trials if trial.is_running]
            for trial in running:
                trial.look(_GLANCE_S / len(running), room)


class _Trial:
    """A trial of a sweep: waiting, running, or ended."""

    def __init__(
        self, number: int, loaded: LoadedExperiment, options: Options, report: SweepReport
    ) -> None:
        self._number = number
        self._loaded = loaded
        self._report = report
        out_dir = Path(loaded.config.run.out_dir)
        own = f"{options.storage.rstrip('/')}/{out_dir.name}" if options.storage else ""
        self._options = replace(options, storage=own)
        self._job: Job | None = None
        self._is_asked = False
        self.result = RunResult("interrupted", 0, out_dir=out_dir)
        self.has_ended = False

    @property
    def is_waiting(self) -> bool:
        return self._job is None and not self.has_ended

    @property
    def is_running(self) -> bool:
        return self._job is not None and not self.has_ended

    @property
    def is_stuck(self) -> bool:
        """Whether a thread still waits for Ray although the trial was given up."""
        return self.has_ended and self._job is not None and not self._job.wait(0)

    def start(self) -> None:
        self._report.begin(self._number)
        self._job = Job(self._loaded, self._options)
        self._job.start()

    def ask_to_stop(self, signal_name: str) -> None:
        if self._job is None:
            self.has_ended = True
        elif not self._is_asked:
            self._is_asked = True
            self._job.ask_to_stop(signal_name)
            end = "it saves and ends after its step" if self._job.has_begun else "it ends"
            self._report.write(self._number, "stderr", f"{signal_name}: {end}\n")

    def look(self, limit_s: float, room: Room) -> None:
        """Tell what the workers wrote and how far they are, and whether they have ended."""
        job = self._job
        assert job is not None
        is_over = job.wait(limit_s)
        for stream, text in job.take_lines():
            self._report.write(self._number, stream, text)
        if job.has_begun:
            self._report.progress(self._number, **job.progress)
        try:
            if not is_over:
                job.give_up_without(room)
                return
            self._end(job.result())
        except Interrupted as error:
            self._end(self._result("interrupted", job), str(error))
        except (ConfigError, TrainerError) as error:
            self._end(self._result("failed", job), str(error))

    def _result(self, status: str, job: Job) -> RunResult:
        """Return what is known of a trial that has no result."""
        step, metrics = job.progress["step"], job.progress["metrics"]
        return RunResult(status, step, dict(metrics), out_dir=self.result.out_dir)

    def _end(self, result: RunResult, error: str = "") -> None:
        self.result, self.has_ended = result, True
        if not self.is_stuck:
            self._job = None  # and Ray ends the process that was its mailbox
        self._report.end(self._number, result, error)


def _leave(code: int, connection: ExitStack) -> None:
    """End this process while a thread waits for Ray: of a shutdown Ray makes a crash then."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    del connection  # held until here, so that nothing closes it
    os._exit(code)
