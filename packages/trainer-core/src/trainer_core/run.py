"""From a file to a result, the whole story: load, check, choose the runner, run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from trainer_core.errors import Interrupted, TrainerError
from trainer_core.experiment.loading import load_experiment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.results import RunResult

__all__ = ["EXIT_CODES", "build_runner", "run", "to_overrides"]

EXIT_CODES = {
    "completed": 0,
    "failed": TrainerError.exit_code,
    "interrupted": Interrupted.exit_code,
}
"""Exit code of the command line by the status of a run."""


def run(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    runner: str | None = None,
    resume: str | int | None = None,
    allow: Sequence[str] | None = None,
    dry_run: bool = False,
) -> RunResult:
    """Train as an experiment file says, or go on where its last run stopped.

    Args:
        config: A file, a recipe (`il/pick_place`), or the data itself.
        overrides: Changes as on the command line: `a.b=c`, `~a.b`, `+a.list=[x]`.
        runner: A runner to use in place of the file's.
        resume: `auto`, `none`, `best`, a step or a checkpoint's path, in place of the file's.
        allow: What may differ from the checkpoint, in place of the file's: `data`, `schedule`, ...
        dry_run: Stop before the first step, with everything checked and built.

    Raises:
        ConfigError: The file has mistakes; all of them are listed.
        TrainerError: The run failed.
    """
    changes = [*overrides, *to_overrides(resume)]
    if allow is not None:
        changes.append(f"run.allow={json.dumps(list(allow))}")
    experiment = load_experiment(config, changes, runner=runner, hooks=True)
    experiment.dry_run = dry_run
    try:
        result: RunResult = build_runner(experiment).run(experiment)
    except Exception as error:
        vars(error)["run_folder"] = experiment.config.run.out_dir  # where its traceback belongs
        raise
    return result


def to_overrides(resume: str | int | None) -> list[str]:
    """Return the override for where a run goes on from, if any; None: what the file says."""
    if resume is None:
        return []
    text = str(resume)
    return [f"run.resume={text if text.isdecimal() else json.dumps(text)}"]


def build_runner(experiment: LoadedExperiment) -> Any:
    """Return the runner that the file names, or that a hook plugin chooses instead."""
    from trainer_core.instantiate import instantiate

    spec = experiment.config.runner
    if experiment.plugins.hooks:
        manager = experiment.plugins.hook_manager()
        chosen = manager.hook.trainer_select_runner(config=experiment.config)
        spec = spec if chosen is None else {"_type_": chosen}
    return instantiate(spec, experiment.plugins, kind="runner")
