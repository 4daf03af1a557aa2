"""One online run from its checks to its end, in the process of the learner."""

from __future__ import annotations

import importlib
import sys
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.engine.build import build_experiment
from trainer_core.engine.dry_run import dry_run
from trainer_core.engine.loop import fit
from trainer_core.engine.signals import leave_early
from trainer_core.ranks import LocalRanks
from trainer_core.results import RunResult
from trainer_ray.cluster import cluster
from trainer_ray.online.checks import (
    describe_rollouts,
    proportions_of,
    require_parts,
    require_sections,
)
from trainer_ray.online.mixed_data import MixedData
from trainer_ray.online.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.online.options import Options

__all__ = ["learn"]


def learn(loaded: LoadedExperiment, options: Options) -> RunResult:
    """Train on the data set and on new episodes.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        UserError: There is no such cluster, it cannot hold the workers, another run learns from
            the buffer, or the rollout workers find something wrong.
        TrainerError: The run failed.
    """
    require_sections(loaded, options)
    proportions = proportions_of(loaded, options)
    ranks = LocalRanks()
    out_dir = Path(loaded.config.run.out_dir)
    built = build_experiment(loaded, ranks)
    require_parts(built, loaded)
    rollouts = describe_rollouts(built, loaded, options)
    if loaded.dry_run:
        return RunResult("checked", 0, out_dir=out_dir, report=dry_run(built))
    mixed = MixedData(built.dataset, proportions)
    built.dataset = mixed
    with _without_notices(), ExitStack() as stack:
        with redirect_stdout(sys.stderr), leave_early():  # where Ray's own messages belong
            stack.enter_context(cluster(options))
            session = Session(loaded, options, mixed, rollouts)
        stack.callback(session.close)
        built.hooks.add(session)
        return fit(built, out_dir, ranks=ranks, resume=loaded.config.run.resume)


@contextmanager
def _without_notices() -> Iterator[None]:
    """Keep Ray from writing to stdout which process has ended: the supervisor says it in a line."""
    worker = importlib.import_module("ray._private.worker")
    name = "_worker_logs_enabled"
    before = getattr(worker, name, True)
    setattr(worker, name, False)
    try:
        yield
    finally:
        setattr(worker, name, before)
