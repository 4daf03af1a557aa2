"""Whether a run may go on from a checkpoint: only with the same optimizers and schedules."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LambdaLR

from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainer_core.optim import ScheduleHandle

__all__ = ["CURE", "describe_optimization", "require_same_optimization"]

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
    sections = {"optimizer": config.optimizer, "scheduler": config.scheduler}
    sections |= {f"models.{name}.optimizer": one.optimizer for name, one in config.models.items()}
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
    lines = [
        f"\n  {key} was {_shown(before, key)} and is {_shown(now, key)}"
        for key in sorted({*now, *before})
        if now.get(key) != before.get(key)
    ]
    follows = "trainer.max_steps" in {**now, **before}
    hint = " (the learning-rate schedule has the length of the run)" if follows else ""
    msg = (
        f"the checkpoint {checkpoint} was trained with another optimizer or schedule, "
        f"whose state cannot go on with this one{hint}:{''.join(lines)}{CURE}"
    )
    raise CheckpointError(msg)


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
