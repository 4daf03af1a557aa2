"""The runner `local`: one process, one device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.engine.build import build_experiment
from trainer_core.engine.dry_run import dry_run
from trainer_core.engine.loop import fit
from trainer_core.ranks import LocalRanks
from trainer_core.results import RunResult

if TYPE_CHECKING:
    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["LocalRunner"]


class LocalRunner:
    """Trains in this process."""

    def run(self, experiment: LoadedExperiment) -> RunResult:
        """Build the experiment and train it; a dry run stops in between.

        Raises:
            ConfigError: Something in the file cannot be had or does not fit.
            TrainerError: The run failed.
        """
        ranks = LocalRanks()
        out_dir = Path(experiment.config.run.out_dir)
        built = build_experiment(experiment, ranks)
        if experiment.dry_run:
            return RunResult("checked", 0, out_dir=out_dir, report=dry_run(built))
        return fit(built, out_dir, ranks=ranks, resume=experiment.config.run.resume)
