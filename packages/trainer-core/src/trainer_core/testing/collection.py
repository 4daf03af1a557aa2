"""A class of checks for each entry point of a wheel, made when pytest collects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from policy_constructor.discovery.metadata import normalize_name
from policy_constructor.source.static import locate
from policy_constructor.spelling import nearest
from trainer_core.testing.declaration import Conformance, installed
from trainer_core.testing.declarations import CommandConformance, RecipesConformance
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
from trainer_core.testing.values import (
    InitializerConformance,
    IOConformance,
    MetricConformance,
    OperationConformance,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["BASES", "Collected", "collect", "conformance_classes"]

BASES: dict[str, type[Conformance]] = {
    "trainer": TrainerConformance,
    "data": DatasetConformance,
    "io": IOConformance,
    "loss": LossConformance,
    "optim_factory": OptimizerConformance,
    "sched_factory": SchedulerConformance,
    "cb": CallbackConformance,
    "log": LoggerConformance,
    "metric": MetricConformance,
    "eval": EvaluatorConformance,
    "runner": RunnerConformance,
    "block": BlockConformance,
    "init": InitializerConformance,
    "op": OperationConformance,
    "hook": HookPluginConformance,
    "command": CommandConformance,
    "recipe": RecipesConformance,
}
"""The class of checks for each kind; families such as `nn.*` have none."""

_FILE, _PREPARE = "conformance.yaml", "prepare"

_SETTINGS = frozenset(
    {
        "batch",
        "exempt",
        "experiment",
        "import_budget_s",
        "inputs",
        "overrides",
        "params",
        "prediction",
        "prepare",
        "refuses",
        "shape",
    }
)


class Collected(NamedTuple):
    """What there is to check in a wheel.

    Attributes:
        classes: Classes of checks by their name.
        left_out: A line for each thing that is not checked, with the reason.
    """

    classes: dict[str, type[Conformance]]
    left_out: list[str]


def conformance_classes(dist: str, settings: Path | None = None) -> dict[str, type[Conformance]]:
    """Return a class of checks for each component of an installed wheel.

    In a test module: `globals().update(conformance_classes("acme-parts"))`.

    Args:
        dist: The wheel, such as `acme-parts`.
        settings: A YAML file with the attributes of the classes by full id:
            `loss.huber: {params: {delta: 0.5}}`. None: the `conformance.yaml` that lies in the
            wheel's package, if there is one.

    Raises:
        ValueError: The wheel is not installed or declares nothing, or the file has a mistake.
    """
    return collect(dist, settings, leave_out_unprepared=False).classes


def collect(
    dist: str, settings: Path | None = None, *, leave_out_unprepared: bool = True
) -> Collected:
    """Return the classes of checks of a wheel, and what they leave out.

    Args:
        dist: The wheel.
        settings: As of `conformance_classes`.
        leave_out_unprepared: Leave out the checks for which the author has to say more; they fail
            otherwise.
    """
    name = normalize_name(dist)
    rows = [record for record in installed().records() if record.dist == name]
    if not rows:
        others = {record.dist for record in installed().records()}
        hint = "".join(f"; did you mean {near!r}?" for near in nearest(name, sorted(others), 1))
        msg = f"no installed wheel {name!r} declares a component{hint}"
        raise ValueError(msg)
    ids = [f"{row.kind}.{row.key}" for row in rows]
    covered = [i for i, row in zip(ids, rows, strict=True) if row.kind in BASES and "*" not in i]
    chosen = _read_settings(settings or _packaged_settings(row.target for row in rows), covered)
    classes, left_out = {}, []
    for full_id in covered:
        made = _make_class(name, full_id, chosen.get(full_id, {}))
        missing = made.unprepared() if leave_out_unprepared else {}
        if missing:
            exempt = {**missing, **made.exempt}
            made = _make_class(name, full_id, {**chosen.get(full_id, {}), "exempt": exempt})
        classes[made.__name__] = made
        left_out += _lines(full_id, made.exempt)
    left_out += [f"{i}: the kit has no checks for its kind" for i in ids if i not in covered]
    return Collected(classes, left_out)


def _make_class(dist: str, full_id: str, chosen: Mapping[str, Any]) -> type[Conformance]:
    base = BASES[full_id.partition(".")[0]]
    attributes = {"key": f"{dist}::{full_id}", **chosen}
    attributes["__doc__"] = f"The checks of {full_id} of {dist}."
    return type("Test_" + re.sub(r"\W", "_", full_id), (base,), attributes)


def _lines(full_id: str, exempt: Mapping[str, str]) -> list[str]:
    """Return a line for each reason, with the numbers that it holds for."""
    numbers: dict[str, list[str]] = {}
    for number, reason in sorted(exempt.items()):
        numbers.setdefault(reason, []).append(number)
    return [f"{full_id} {', '.join(found)}: {reason}" for reason, found in numbers.items()]


def _packaged_settings(targets: Iterable[str]) -> Path | None:
    """Return the settings that lie in the package of a wheel, beside its `__init__.py`."""
    roots = dict.fromkeys(target.partition(":")[0].partition(".")[0] for target in targets)
    for root in roots:
        found = locate(root)
        file = Path(found).with_name(_FILE) if found else None
        if file is not None and file.is_file():
            return file
    return None


def _read_settings(file: Path | None, known: list[str]) -> Mapping[str, dict[str, Any]]:
    if file is None:
        return {}
    document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    prepare = document.pop(_PREPARE, "")
    for full_id, attributes in document.items():
        if full_id not in known:
            raise ValueError(_unknown(file, "component", full_id, [*known, _PREPARE]))
        for name in attributes:
            if name not in _SETTINGS:
                raise ValueError(_unknown(file, "attribute", name, sorted(_SETTINGS)))
        experiment = attributes.get("experiment")
        if isinstance(experiment, str) and (file.parent / experiment).is_file():
            attributes["experiment"] = str((file.parent / experiment).resolve())
    return {name: {"prepare": prepare, **document.get(name, {})} for name in known}


def _unknown(file: Path, what: str, name: object, known: list[str]) -> str:
    near = nearest(str(name), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    return f"{file}: unknown {what} {name!r}{hint}"
