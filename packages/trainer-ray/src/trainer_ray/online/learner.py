"""One online run from its checks to its end, in the process of the learner."""

from __future__ import annotations

import importlib
import sys
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_core.engine.build import build_experiment
from trainer_core.engine.dry_run import dry_run
from trainer_core.engine.loop import fit
from trainer_core.engine.signals import leave_early
from trainer_core.instantiate import placed
from trainer_core.ranks import LocalRanks
from trainer_core.results import RunResult
from trainer_ray.cluster import cluster
from trainer_ray.online.checks import (
    describe_rollouts,
    proportions_of,
    require_parts,
    require_sections,
    tell_memory,
)
from trainer_ray.online.cluster_checks import require_free, require_room
from trainer_ray.online.mixed_data import MixedData
from trainer_ray.online.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_core.engine.built import Experiment
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.ranks import Ranks
    from trainer_ray.online.options import Options

__all__ = ["learn"]


def learn(loaded: LoadedExperiment, options: Options) -> RunResult:
    """Train on the data set and on new episodes.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit; so the cluster, which
            cannot hold the workers, or a buffer that another run learns from.
        UserError: There is no such cluster, or the rollout workers find something wrong.
        TrainerError: The run failed.
    """
    require_sections(loaded, options)
    ranks = LocalRanks()
    out_dir = Path(loaded.config.run.out_dir)
    if loaded.dry_run:
        built, _ = _build(loaded, options, ranks)
        return RunResult("checked", 0, out_dir=out_dir, report=dry_run(built))
    with _without_notices(), ExitStack() as stack:
        with redirect_stdout(sys.stderr), leave_early():  # where Ray's own messages belong
            with placed(loaded.resolved, "runner"):
                stack.enter_context(cluster(options))
            require_room(loaded, options)
            require_free(loaded, options)
        built, rollouts = _build(loaded, options, ranks)
        mixed = built.dataset = MixedData(built.dataset, proportions_of(loaded, options))
        session = Session(loaded, options, mixed, rollouts)
        stack.callback(session.close)
        built.hooks.add(session)
        return fit(built, out_dir, ranks=ranks, resume=loaded.config.run.resume)


def _build(
    loaded: LoadedExperiment, options: Options, ranks: Ranks
) -> tuple[Experiment, dict[str, Any]]:
    """Return the experiment, and the spec of the evaluator that rollout workers play."""
    built = build_experiment(loaded, ranks)
    require_parts(built, loaded)
    tell_memory(built.dataset, options)
    return built, describe_rollouts(built, loaded, options)


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
