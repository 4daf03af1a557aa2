"""Puts a pre-empted job of SLURM back into the queue, once its state is saved."""

from __future__ import annotations

import logging
import os
import subprocess

__all__ = ["requeue_job"]

_log = logging.getLogger(__name__)

_PATIENCE_S = 60.0


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
