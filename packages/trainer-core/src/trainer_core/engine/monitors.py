"""Whether the validation has the metrics that a file watches, known after its first batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.errors import ConfigError
from policy_constructor.spelling import nearest
from trainer_core.engine.optimizers import component_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trainer_core.engine.built import Experiment
    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["check_monitors"]

_WATCHING = frozenset({"cb.early_stopping", "cb.model_checkpoint"})


def check_monitors(experiment: Experiment, measured: Iterable[str]) -> None:
    """Refuse a `monitor` of a callback or schedule that no validation will have.

    Args:
        experiment: Built; nothing is checked without a validation split, or with `metrics:`, whose
            names are their own.
        measured: What the trainer measures in a validation, without `val/`.

    Raises:
        ConfigError: There is no such metric; the message has those that there are.
    """
    loaded = experiment.loaded
    if loaded is None or experiment.metrics or experiment.val_dataset is None:
        return
    known = [f"val/{name}" for name in measured]
    problems = [
        loaded.resolved.problem(
            path,
            f"nothing measures {monitor!r}",
            code="unknown-metric",
            expected=f"a metric of the validation, {', '.join(known)}, or of the evaluation",
            suggestions=nearest(monitor, known),
        )
        for path, monitor in _monitors(loaded)
        if monitor.startswith("val/") and monitor not in known
    ]
    if problems:
        raise ConfigError(problems)


def _monitors(loaded: LoadedExperiment) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield where the file says what is watched, and what it says."""
    config = loaded.config
    for number, spec in enumerate(config.callbacks):
        if spec["_type_"] in _WATCHING and isinstance(spec.get("monitor"), str):
            yield ("callbacks", number, "monitor"), spec["monitor"]
    owners: list[tuple[tuple[str, ...], Any]] = [((), config.scheduler)]
    owners += [(component_place(loaded, name), m.scheduler) for name, m in config.models.items()]
    for path, spec in owners:
        if spec is not None and isinstance(spec.get("monitor"), str):
            yield (*path, "scheduler", "monitor"), spec["monitor"]
