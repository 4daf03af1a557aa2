"""Whether a run may go on from a checkpoint: with the same data, optimizers and schedules."""

from __future__ import annotations

import inspect
import json
import logging
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LambdaLR

from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainer_core.optim import ScheduleHandle

__all__ = [
    "CURE",
    "describe_data",
    "describe_optimization",
    "require_same_data",
    "require_same_optimization",
]

_log = logging.getLogger(__name__)

CURE = "\n  give the new experiment its own run.out_dir, or start over with --resume none"
_LENGTHS = ("T_max", "total_steps")


def describe_optimization(experiment: Any) -> dict[str, Any]:
    """Return what the file says about optimizers and schedules, by dotted key.

    Args:
        experiment: An `engine.built.Experiment`; of one put together in Python nothing is known.
    """
    if experiment.loaded is None:
        return {}
    config = experiment.loaded.config
    sections: dict[str, Any] = {"scheduler": config.scheduler}
    owners = {"": config, **{f"models.{name}.": one for name, one in config.models.items()}}
    for prefix, owner in owners.items():
        if owner.optimizer is not None:
            sections[f"{prefix}optimizer"] = owner.optimizer.describe()
        sections[f"{prefix}scheduler"] = owner.scheduler
    said = dict(_flatten(sections, ""))
    has_length = any(key.rpartition(".")[2] in _LENGTHS for key in said)
    if not has_length and any(map(_follows_the_run, experiment.schedules.values())):
        said["trainer.max_steps"] = experiment.total_steps
    return said


def require_same_optimization(
    now: Mapping[str, Any], before: Mapping[str, Any], checkpoint: Path
) -> None:
    """Compare two descriptions; an empty one is not compared.

    Raises:
        CheckpointError: They differ; the message lists every key.
    """
    if not now or not before or now == before:
        return
    follows = "trainer.max_steps" in {**now, **before}
    hint = " (the learning-rate schedule has the length of the run)" if follows else ""
    msg = (
        f"the checkpoint {checkpoint} was trained with another optimizer or schedule, "
        f"whose state cannot go on with this one{hint}:{_differences(now, before)}{CURE}"
    )
    raise CheckpointError(msg)


def describe_data(experiment: Any) -> dict[str, Any]:
    """Return what the file says about the data set, by dotted key, and the set's statistics.

    Args:
        experiment: An `engine.built.Experiment`; of one put together in Python nothing is known.
    """
    if experiment.loaded is None:
        return {}
    said = dict(_flatten(experiment.loaded.config.data.component, "data"))
    statistics = dict(_flatten(experiment.normalizer.to_json(), "statistics"))
    return json.loads(json.dumps(said | statistics))  # type: ignore[no-any-return] # as it is read back


def require_same_data(
    now: Mapping[str, Any], before: Mapping[str, Any], checkpoint: Path, *, is_chosen: bool
) -> None:
    """Compare two descriptions; an empty one is not compared.

    Args:
        now: Of this run.
        before: Of the checkpoint's run.
        checkpoint: Its folder.
        is_chosen: The user named the checkpoint: a difference is a warning, not a refusal.

    Raises:
        CheckpointError: They differ; the message lists every key.
    """
    if not now or not before or now == before:
        return
    differences = _differences(now, before)
    if is_chosen:
        _log.warning("going on from %s with other data:%s", checkpoint, differences)
        return
    cure = "\n  name the checkpoint with --resume to go on with the new data all the same"
    msg = f"the checkpoint {checkpoint} was trained on other data:{differences}{CURE}{cure}"
    raise CheckpointError(msg)


def _differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    return "".join(
        f"\n  {key} was {_shown(before, key)} and is {_shown(now, key)}"
        for key in sorted({*now, *before})
        if now.get(key) != before.get(key)
    )


def _flatten(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield from _flatten(child, f"{prefix}.{key}" if prefix else str(key))
    elif tree is not None:
        yield prefix, list(tree) if isinstance(tree, tuple) else tree


def _follows_the_run(handle: ScheduleHandle) -> bool:
    """Whether a schedule was given the run's length when the file says none."""
    schedule = type(handle.scheduler)
    known = inspect.signature(schedule).parameters
    takes_length = issubclass(schedule, LambdaLR) or any(name in known for name in _LENGTHS)
    return handle.interval == "step" and takes_length


def _shown(said: Mapping[str, Any], key: str) -> str:
    return str(said[key]) if key in said else "not given"
