"""Puts a pre-empted job of SLURM back into the queue, once its state is saved."""

from __future__ import annotations

import logging
import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer_core.engine.state import RunState

__all__ = ["requeue_if_asked", "requeue_job"]

_log = logging.getLogger(__name__)

_PATIENCE_S = 60.0


def requeue_if_asked(state: RunState, signal_name: str) -> None:
    """Have a scheduler start an interrupted run again, if the file says so and nobody hit Ctrl-C.

    Args:
        state: The run, saved and closed.
        signal_name: What interrupted it; empty if another rank got the signal.
    """
    loaded = state.experiment.loaded
    is_asked = loaded is not None and loaded.config.run.slurm_requeue
    if is_asked and signal_name != "SIGINT" and state.ranks.is_main:
        requeue_job()


def requeue_job() -> bool:
    """Ask SLURM to start this job again later; return whether it will.

    Outside of a job this does nothing. Called after the run has saved and closed all it has open,
    never from a signal handler. A refusal is a warning: the state is saved in any case.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdecimal():
        return False
    try:
        done = subprocess.run(  # noqa: S603 - the number was just checked
            ["scontrol", "requeue", job],  # noqa: S607 - where SLURM has it
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        _log.warning("job %s is not requeued: %s", job, exc)
        return False
    if done.returncode:
        _log.warning("job %s is not requeued: %s", job, done.stderr.strip())
        return False
    _log.warning("job %s is requeued", job)
    return True
