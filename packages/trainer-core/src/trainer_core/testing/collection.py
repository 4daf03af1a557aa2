"""A class of checks for each entry point of a wheel, made when pytest collects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from policy_constructor.discovery.metadata import normalize_name
from policy_constructor.spelling import nearest
from trainer_core.testing.component import ComponentConformance
from trainer_core.testing.declaration import Conformance, installed
from trainer_core.testing.listeners import (
    CallbackConformance,
    HookPluginConformance,
    LoggerConformance,
)
from trainer_core.testing.parts import (
    BlockConformance,
    DatasetConformance,
    LossConformance,
    OptimizerConformance,
    SchedulerConformance,
)
from trainer_core.testing.runs import (
    EvaluatorConformance,
    RunnerConformance,
    TrainerConformance,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["BASES", "Collected", "collect", "conformance_classes"]

BASES: dict[str, type[Conformance]] = {
    "trainer": TrainerConformance,
    "data": DatasetConformance,
    "io": ComponentConformance,
    "loss": LossConformance,
    "optim_factory": OptimizerConformance,
    "sched_factory": SchedulerConformance,
    "cb": CallbackConformance,
    "log": LoggerConformance,
    "metric": ComponentConformance,
    "eval": EvaluatorConformance,
    "runner": RunnerConformance,
    "block": BlockConformance,
    "init": Conformance,
    "hook": HookPluginConformance,
}
"""The class of checks for each kind; commands, recipes, operations and families have none."""

_SETTINGS = frozenset(
    {
        "exempt",
        "experiment",
        "import_budget_s",
        "inputs",
        "overrides",
        "params",
        "refuses",
        "shape",
    }
)


class Collected(NamedTuple):
    """What there is to check in a wheel.

    Attributes:
        classes: Classes of checks by their name.
        exempted: A line for each check that the wheel declares not to hold.
        uncovered: Full ids that the kit has no checks for.
    """

    classes: dict[str, type[Conformance]]
    exempted: list[str]
    uncovered: list[str]


def conformance_classes(dist: str, settings: Path | None = None) -> dict[str, type[Conformance]]:
    """Return a class of checks for each component of an installed wheel.

    In a test module: `globals().update(conformance_classes("acme-parts", Path(...)))`.

    Args:
        dist: The wheel, such as `acme-parts`.
        settings: A YAML file with the attributes of the classes by full id:
            `loss.huber: {params: {delta: 0.5}}`. None: all have their defaults.

    Raises:
        ValueError: The wheel is not installed or declares nothing, or the file has a mistake.
    """
    return collect(dist, settings).classes


def collect(dist: str, settings: Path | None = None) -> Collected:
    """Return the classes of checks of a wheel, and what they leave out."""
    name = normalize_name(dist)
    rows = [record for record in installed().records() if record.dist == name]
    if not rows:
        others = {record.dist for record in installed().records()}
        hint = "".join(f"; did you mean {near!r}?" for near in nearest(name, sorted(others), 1))
        msg = f"no installed wheel {name!r} declares a component{hint}"
        raise ValueError(msg)
    ids = [f"{row.kind}.{row.key}" for row in rows]
    covered = [i for i, row in zip(ids, rows, strict=True) if row.kind in BASES and "*" not in i]
    chosen = _read_settings(settings, covered)
    classes, exempted = {}, []
    for full_id in covered:
        base = BASES[full_id.partition(".")[0]]
        attributes = {"key": f"{name}::{full_id}", **chosen.get(full_id, {})}
        attributes["__doc__"] = f"The checks of {full_id} of {name}."
        class_name = "Test_" + re.sub(r"\W", "_", full_id)
        classes[class_name] = type(class_name, (base,), attributes)
        reasons = attributes.get("exempt", {})
        exempted += [f"{full_id} {number}: {reason}" for number, reason in reasons.items()]
    return Collected(classes, exempted, [i for i in ids if i not in covered])


def _read_settings(file: Path | None, known: list[str]) -> Mapping[str, dict[str, Any]]:
    if file is None:
        return {}
    document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    for full_id, attributes in document.items():
        if full_id not in known:
            raise ValueError(_unknown(file, "component", full_id, known))
        for name in attributes:
            if name not in _SETTINGS:
                raise ValueError(_unknown(file, "attribute", name, sorted(_SETTINGS)))
        experiment = attributes.get("experiment")
        if isinstance(experiment, str) and (file.parent / experiment).is_file():
            attributes["experiment"] = str((file.parent / experiment).resolve())
    found: Mapping[str, dict[str, Any]] = document
    return found


def _unknown(file: Path, what: str, name: object, known: list[str]) -> str:
    near = nearest(str(name), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    return f"{file}: unknown {what} {name!r}{hint}"
