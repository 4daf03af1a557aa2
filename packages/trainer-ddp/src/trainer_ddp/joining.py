"""Being one rank of a run that another launcher started: torchrun, SLURM, Kubernetes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.distributed.reports import describe, is_told_by_main
from trainer_core.distributed.worker import resume_after_restart, run_rank

if TYPE_CHECKING:
    from trainer_core.distributed.place import Place
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.results import RunResult
    from trainer_ddp.options import Options

__all__ = ["join"]


def join(loaded: LoadedExperiment, place: Place, options: Options) -> RunResult:
    """Train as this rank; what all ranks know to be wrong is said by rank 0 alone.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        TrainerError: The run failed here or on another rank.
        SystemExit: Rank 0 says what is wrong.
    """
    resume = loaded.config.run.resume
    if place.attempt:
        out_dir = Path(loaded.config.run.out_dir)
        resume = resume_after_restart(resume, out_dir, has_begun=True)
    try:
        return replace(run_rank(loaded, place, options, resume=resume), rank=place.rank)
    except Exception as error:
        if place.rank and is_told_by_main(error):
            raise SystemExit(describe(error)["exit_code"]) from None
        raise
