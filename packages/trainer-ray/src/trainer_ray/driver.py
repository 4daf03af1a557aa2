"""Waits for experiments in a cluster: one, or the trials of a sweep side by side."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from policy_constructor.errors import ConfigError
from trainer_core.errors import Interrupted, TrainerError
from trainer_core.results import RunResult
from trainer_ray.cluster import cluster
from trainer_ray.job import Job
from trainer_ray.room import Room, require_resources
from trainer_ray.software import with_wheels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.options import Options

__all__ = ["launch", "launch_all"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_GLANCE_S = 0.1


def launch(loaded: LoadedExperiment, options: Options) -> RunResult:
    """Run an experiment in workers of a Ray cluster and return the result of rank 0.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        UserError: There is no such cluster, or it cannot hold the workers.
        TrainerError: The run failed; the message names the rank.
        SystemExit: A second signal ended the run at once, or the first one before it began.
    """
    stdout = sys.stdout
    _require_storage(options)
    options = replace(options, runtime_env=with_wheels(loaded, options.runtime_env))
    with redirect_stdout(sys.stderr), cluster(options):  # where Ray's own messages belong
        require_resources(options)
        job, room = Job(loaded, options), Room(options)
        with _signals(job.ask_to_stop):
            job.start()
            try:
                while not job.wait(_GLANCE_S):
                    _show(job, stdout)
                    job.give_up_without(room)
            except Interrupted as error:
                _leave(error)
        _show(job, stdout)
        return job.result()


def launch_all(experiments: Sequence[LoadedExperiment], options: Options) -> list[RunResult]:
    """Run the trials of a sweep, as many at a time as the cluster has room for.

    Returns:
        One result for each, `failed` if it was; those that a signal kept from starting are
        `interrupted`.

    Raises:
        UserError: There is no such cluster, or it cannot hold the workers of a trial.
    """
    _require_storage(options)
    wheels = with_wheels(experiments[0], options.runtime_env) if experiments else {}
    options = replace(options, runtime_env=wheels)
    with redirect_stdout(sys.stderr), cluster(options):  # as above
        places = require_resources(options) // options.num_workers
        trials, room = [_Trial(loaded, options) for loaded in experiments], Room(options)

        def stop_all(signal_name: str) -> None:
            for trial in trials:
                trial.ask_to_stop(signal_name)

        with _signals(stop_all):
            while any(not trial.has_ended for trial in trials):
                free = places - sum(trial.is_running for trial in trials)
                for trial in [each for each in trials if each.is_waiting][:free]:
                    trial.start()
                running = [trial for trial in trials if trial.is_running]
                for trial in running:
                    trial.look(_GLANCE_S / max(1, len(running)), room)
        return [trial.result for trial in trials]


def _require_storage(options: Options) -> None:
    """Refuse a storage that cannot be had before anything is started."""
    if options.storage:
        from trainer_ray.mirror import CheckpointMirror  # noqa: PLC0415 - few runs have one

        CheckpointMirror(options.storage)


class _Trial:
    """A trial of a sweep: waiting, running, or ended."""

    def __init__(self, loaded: LoadedExperiment, options: Options) -> None:
        self._loaded = loaded
        out_dir = Path(loaded.config.run.out_dir)
        own = f"{options.storage.rstrip('/')}/{out_dir.name}" if options.storage else ""
        self._options = replace(options, storage=own)
        self._job: Job | None = None
        self.out_dir = out_dir
        self.result = RunResult("interrupted", 0, out_dir=self.out_dir)
        self.has_ended = False

    @property
    def is_waiting(self) -> bool:
        return self._job is None and not self.has_ended

    @property
    def is_running(self) -> bool:
        return self._job is not None and not self.has_ended

    def start(self) -> None:
        self._job = Job(self._loaded, self._options)
        self._job.start()
        self._say("begun")

    def ask_to_stop(self, signal_name: str) -> None:
        if self._job is None:
            self.has_ended = True
        else:
            self._job.ask_to_stop(signal_name)

    def look(self, limit_s: float, room: Room) -> None:
        """Show what the workers wrote, and note whether they have ended."""
        job = self._job
        assert job is not None
        is_over = job.wait(limit_s)
        _show(job, sys.stderr, f"{self.out_dir.name}: ")
        try:
            if not is_over:
                job.give_up_without(room)
                return
            self.result = job.result()
        except Interrupted as error:
            self._say(str(error))
        except (ConfigError, TrainerError) as error:
            self.result = RunResult("failed", 0, out_dir=self.out_dir)
            self._say(f"failed: {error}")
        else:
            self._say(f"{self.result.status} after {self.result.step} steps")
        self.has_ended = True

    def _say(self, what: str) -> None:
        sys.stderr.write(f"{self.out_dir.name}: {what}\n")


def _leave(error: Interrupted) -> NoReturn:
    """End this process while a thread waits for Ray: of a shutdown Ray makes a crash then.

    What Ray has started here, or for this process elsewhere, ends with it.
    """
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
    os._exit(error.exit_code)


def _show(job: Job, stdout: TextIO, prefix: str = "") -> None:
    """Print what the workers wrote."""
    for stream, text in job.take_lines():
        file = stdout if stream == "stdout" else sys.stderr
        file.write("".join(prefix + line for line in text.splitlines(keepends=True)))
        file.flush()


@contextmanager
def _signals(ask_to_stop: Callable[[str], None]) -> Iterator[None]:
    """Pass the first signal on to the workers; the second ends this process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        del frame
        received.append(number)
        if len(received) > 1:
            os._exit(128 + number)
        ask_to_stop(signal.Signals(number).name)

    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
