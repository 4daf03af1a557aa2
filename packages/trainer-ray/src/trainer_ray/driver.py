"""Waits for an experiment in a cluster, and passes on the signals that come meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from trainer_core.errors import Interrupted
from trainer_ray.cluster import cluster
from trainer_ray.job import Job
from trainer_ray.room import Room, require_resources
from trainer_ray.software import with_wheels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.results import RunResult
    from trainer_ray.options import Options

__all__ = ["launch", "passing_on_signals", "require_storage"]

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
    require_storage(options)
    options = replace(options, runtime_env=with_wheels(loaded, options.runtime_env))
    with redirect_stdout(sys.stderr), cluster(options):  # where Ray's own messages belong
        require_resources(loaded, options)
        job, room = Job(loaded, options), Room(options)
        with passing_on_signals(job.ask_to_stop):
            job.start()
            try:
                while not job.wait(_GLANCE_S):
                    _show(job, stdout)
                    job.give_up_without(room)
            except Interrupted as error:
                _leave(error)
        _show(job, stdout)
        return job.result()


def require_storage(options: Options) -> None:
    """Refuse a storage that cannot be had before anything is started."""
    if options.storage:
        from trainer_ray.mirror import CheckpointMirror  # noqa: PLC0415 - few runs have one

        CheckpointMirror(options.storage)


def _leave(error: Interrupted) -> NoReturn:
    """End this process while a thread waits for Ray: of a shutdown Ray makes a crash then.

    What Ray has started here, or for this process elsewhere, ends with it.
    """
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
    os._exit(error.exit_code)


def _show(job: Job, stdout: TextIO) -> None:
    """Print what the workers wrote."""
    for stream, text in job.take_lines():
        file = stdout if stream == "stdout" else sys.stderr
        file.write(text)
        file.flush()


@contextmanager
def passing_on_signals(ask_to_stop: Callable[[str], None]) -> Iterator[None]:
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
