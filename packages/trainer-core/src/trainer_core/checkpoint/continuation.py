"""Whether a run may go on from a checkpoint: what its file says against what it was trained with.

A difference in one of the `TOPICS` is refused unless `run.allow` names the topic, for what follows
would be neither the old experiment nor the new one. Everything else that differs is only said.
"""

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

__all__ = ["CURE", "STATE_TOPICS", "Description", "describe", "require_same"]

Description = dict[str, dict[str, Any]]
"""What a run is trained with: topic -> dotted key of the file -> value."""

_log = logging.getLogger(__name__)

CURE = "\n  give the new experiment its own run.out_dir, or start over with --resume none"
STATE_TOPICS = frozenset({"optimizer", "schedule"})
"""Topics whose old settings are part of the saved state: a chosen checkpoint has them too."""

_SAID = "surroundings"
_LENGTHS = ("T_max", "total_steps")
_HARMLESS = frozenset(
    {
        "component",
        "grad_accum_steps",
        "limit_val_batches",
        "log_every_n_steps",
        "max_epochs",
        "max_steps",
        "max_time_s",
        "on_nonfinite",
        "val_every_n_steps",
    }
)
_MODEL_SETTINGS = frozenset(
    {"init", "weights", "optimizer", "scheduler", "compile", "activation_checkpointing"}
)


def describe(state: Any) -> Description:
    """Return what a run is trained with, as it is read back from a checkpoint.

    Args:
        state: An `engine.state.RunState`; of an experiment put together in Python only what the
            engine itself knows.
    """
    experiment = state.experiment
    topics: Description = {
        "seed": {"run.seed": experiment.seed},
        "batch_size": {"data.batch_size": experiment.global_batch},
    }
    if experiment.loaded is not None:
        topics |= _describe_file(experiment)
    topics[_SAID] = {
        "world size": state.ranks.world_size,
        "device": experiment.device.type,
        "data.num_workers": experiment.num_workers,
        "trainer.grad_accum_steps": getattr(experiment.settings, "grad_accum_steps", 1),
    }
    return json.loads(json.dumps(topics, default=str))  # type: ignore[no-any-return] # plain data


def require_same(
    now: Description,
    before: Description,
    checkpoint: Path,
    *,
    allow: frozenset[str] = frozenset(),
    is_chosen: bool = False,
    loaded: Any = None,
) -> frozenset[str]:
    """Compare two descriptions; a topic that one of them lacks is not compared.

    Args:
        now: Of this run.
        before: Of the checkpoint's run.
        checkpoint: Its folder.
        allow: Topics that may differ.
        is_chosen: The user named the checkpoint: only `STATE_TOPICS` are refused.
        loaded: The `LoadedExperiment`, which knows where a value was written.

    Returns:
        The topics that differ.

    Raises:
        CheckpointError: A topic differs that must not; the message lists every key.
    """
    differences = {
        topic: lines
        for topic in now
        if topic in before and (lines := list(_differences(now[topic], before[topic], loaded)))
    }
    refused = [
        topic
        for topic in differences
        if topic not in {_SAID, *allow} and (topic in STATE_TOPICS or not is_chosen)
    ]
    if refused:
        listed = "".join(line for topic in refused for line in differences[topic])
        follows = "trainer.max_steps" in now.get("schedule", {}) and "schedule" in refused
        hint = "\n  (the learning-rate schedule has the length of the run)" if follows else ""
        msg = (
            f"the checkpoint {checkpoint} was trained with other settings:{listed}{hint}{CURE}, "
            f"or go on all the same with --allow {','.join(refused)}"
        )
        raise CheckpointError(msg)
    if differences:
        listed = "".join(line for found in differences.values() for line in found)
        _log.warning("%s goes on with other settings:%s", checkpoint.name, listed)
    return frozenset(differences)


def _describe_file(experiment: Any) -> Description:
    config = experiment.loaded.config
    topics: Description = {
        "data": _flat(config.data.component, "data"),
        "loss": {**_flat(config.loss, "loss"), **_flat(config.io, "io")},
        "trainer": _flat(
            {
                **config.trainer.component,
                **{
                    name: getattr(config.trainer, name)
                    for name in type(config.trainer).model_fields
                    if name not in _HARMLESS
                },
            },
            "trainer",
        ),
        "precision": _flat(
            {"precision": config.run.precision, "deterministic": config.run.deterministic}, "run"
        ),
        "model": {},
        "optimizer": {},
        "schedule": {},
    }
    fingerprint = getattr(experiment.dataset, "fingerprint", None)
    topics["data"] |= {"samples": len(experiment.dataset)}
    topics["data"] |= _flat(fingerprint, "fingerprint")
    topics["data"] |= _flat(experiment.normalizer.to_json(), "statistics")
    for name, plan in experiment.loaded.models.items():
        topics["model"] |= _flat(_model_of(plan), f"models.{name}")
    owners = {"": config, **{f"models.{name}.": one for name, one in config.models.items()}}
    for prefix, owner in owners.items():
        if owner.optimizer is not None:
            topics["optimizer"] |= _flat(owner.optimizer.describe(), f"{prefix}optimizer")
        topics["schedule"] |= _flat(owner.scheduler, f"{prefix}scheduler")
    said = {**topics["optimizer"], **topics["schedule"]}
    has_length = any(key.rpartition(".")[2] in _LENGTHS for key in said)
    handles = experiment.schedules.values()
    if any(handle.follows_run for handle in handles) or (
        not has_length and any(map(_follows_the_run, handles))
    ):
        topics["schedule"]["trainer.max_steps"] = experiment.total_steps
    return topics


def _model_of(plan: Any) -> Any:
    """Return a component as its file says, without what only its beginning depended on."""
    content = plan.resolved.data
    for key in plan.section:
        content = content.get(key) if isinstance(content, dict) else None
    if not isinstance(content, dict):
        return content
    return {key: value for key, value in content.items() if key not in _MODEL_SETTINGS}


def _differences(now: Mapping[str, Any], before: Mapping[str, Any], loaded: Any) -> Iterator[str]:
    for key in sorted({*now, *before}):
        if now.get(key) != before.get(key):
            place = _place(key, loaded)
            yield f"\n  {key} was {_shown(before, key)} and is {_shown(now, key)}{place}"


def _place(key: str, loaded: Any) -> str:
    """Return where the file says a value, ` (exp.yaml:3:5)`; nothing for other values."""
    if loaded is None:
        return ""
    path = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    if loaded.resolved.node(*path) is None:
        return ""
    location = loaded.resolved.problem(path, "").location
    return "" if location is None else f" ({location})"


def _flat(tree: Any, prefix: str) -> dict[str, Any]:
    return dict(_flatten(tree, prefix))


def _flatten(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield from _flatten(child, f"{prefix}.{key}")
    elif isinstance(tree, list | tuple) and any(isinstance(child, dict) for child in tree):
        for number, child in enumerate(tree):
            yield from _flatten(child, f"{prefix}.{number}")
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
