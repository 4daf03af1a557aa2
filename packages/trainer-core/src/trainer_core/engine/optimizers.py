"""The optimizers of the trained components and their learning-rate schedules."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from torch.nn.parameter import UninitializedParameter

from policy_constructor.errors import ConfigError
from policy_constructor.spelling import nearest
from trainer_core.errors import MissingPackageError, UserError
from trainer_core.instantiate import instantiate, load_component, placed
from trainer_core.optim import ClassOptimizerFactory, ClassSchedulerFactory, ScheduleHandle

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from torch import Tensor, nn

    from policy_constructor.config.node import Path
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.experiment.schema import OptimizerSection

__all__ = [
    "build_optimizers",
    "build_schedules",
    "component_place",
    "optimizer_factory",
    "split_parameters",
]

_SHARED = "default"
_NO_DECAY = "no_decay"


def build_optimizers(
    loaded: LoadedExperiment, models: nn.ModuleDict
) -> tuple[dict[str, torch.optim.Optimizer], dict[str, Any]]:
    """Return the optimizers by name, and their factories.

    A component with an `optimizer` or a `scheduler` of its own has an optimizer of its name; the
    others share `default`.

    Raises:
        ConfigError: A trained component has no optimizer, or has lazy parameters; a group matches
            nothing, or has a setting that the optimizer does not know.
    """
    sections: dict[str, OptimizerSection] = {}
    places: dict[str, Path] = {}
    trained: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name, module in models.items():
        _require_shapes(loaded, name, module)
        parameters: dict[str, Tensor] = {
            f"{name}/{key}": p for key, p in module.named_parameters() if p.requires_grad
        }
        if not parameters:
            continue
        own = loaded.config.models[name]
        section = own.optimizer if own.optimizer is not None else loaded.config.optimizer
        if section is None:
            message = f"the component {name!r} is trained and has no optimizer"
            raise ConfigError(loaded.resolved.problem(("optimizer",), message))
        key = _SHARED if own.optimizer is None and own.scheduler is None else name
        sections[key] = section
        places[key] = (*(component_place(loaded, name) if own.optimizer else ()), "optimizer")
        trained.setdefault(key, {})[name] = parameters
    _require_matches(loaded, sections, places, trained)
    factories: dict[str, Any] = {}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    for key, section in sections.items():
        groups = [
            group
            for name, parameters in trained[key].items()
            for group in split_parameters(name, parameters, section)
        ]
        with _refusals(loaded, places[key]), placed(loaded.resolved, *places[key]):
            factories[key] = optimizer_factory(section.component, loaded.plugins)
            optimizers[key] = factories[key].build(groups)
        _require_known_settings(loaded, places[key], section, factories[key], optimizers[key])
    return optimizers, factories


def split_parameters(
    component: str, parameters: Mapping[str, Tensor], section: OptimizerSection
) -> list[dict[str, Any]]:
    """Return a component's parameters as groups: those that no rule has first, then rule by rule.

    Args:
        component: Its name.
        parameters: Its trained parameters by `component/name`.
        section: The optimizer with its rules; of several that match, the first counts.
    """
    rest: list[Tensor] = []
    ruled: list[list[Tensor]] = [[] for _ in section.groups]
    not_decayed: list[Tensor] = []
    for name, parameter in parameters.items():
        for rule, chosen in zip(section.groups, ruled, strict=True):
            if fnmatchcase(name, rule.match):
                chosen.append(parameter)
                break
        else:
            is_flat = section.no_decay is not None and parameter.ndim < 2
            (not_decayed if is_flat else rest).append(parameter)
    groups: list[dict[str, Any]] = [{"params": rest, "name": component}]
    groups += [
        {"params": chosen, "name": f"{component}:{rule.match}", **rule.settings}
        for rule, chosen in zip(section.groups, ruled, strict=True)
    ]
    groups.append({"params": not_decayed, "name": f"{component}:{_NO_DECAY}", "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def build_schedules(
    loaded: LoadedExperiment,
    optimizers: Mapping[str, torch.optim.Optimizer],
    factories: Mapping[str, Any],
    total_steps: int,
) -> dict[str, ScheduleHandle]:
    """Return the learning-rate schedules by the name of their optimizer.

    An optimizer factory may bring its own; otherwise a component's `scheduler` counts, or the
    file's.

    Raises:
        ConfigError: There is a `scheduler` for an optimizer that brings its own, or its values
            do not fit the length of the run.
    """
    shared = loaded.config.scheduler
    bringing = [name for name in optimizers if hasattr(factories[name], "schedule")]
    if shared is not None and optimizers and len(bringing) == len(optimizers):
        message = "the optimizer brings its own schedule; remove this section"
        raise ConfigError(loaded.resolved.problem(("scheduler",), message))
    schedules: dict[str, ScheduleHandle] = {}
    for name, optimizer in optimizers.items():
        own = loaded.config.models[name].scheduler if name in loaded.config.models else None
        owner: Path = component_place(loaded, name) if name in loaded.config.models else ()
        spec = own if own is not None else shared
        if name in bringing:
            if own is not None:
                message = "the optimizer brings its own schedule; remove this section"
                raise ConfigError(loaded.resolved.problem((*owner, "scheduler"), message))
            schedules[name] = _own_schedule(loaded, owner, factories[name], optimizer, total_steps)
        elif spec is not None:
            with placed(loaded.resolved, *(owner if own is not None else ()), "scheduler"):
                factory = _scheduler_factory(spec, loaded)
                schedule = factory.build(optimizer, total_steps)
            monitor = getattr(factory, "monitor", None)
            follows_run = getattr(factory, "follows_run", False)
            schedules[name] = ScheduleHandle(schedule, factory.interval, monitor, follows_run)
    return schedules


def component_place(loaded: LoadedExperiment, name: str) -> tuple[str, ...]:
    """Return the path of a component in the file: a single model is the section `model`."""
    return ("model",) if loaded.resolved.node("models") is None else ("models", name)


def _own_schedule(
    loaded: LoadedExperiment,
    owner: Path,
    factory: Any,
    optimizer: torch.optim.Optimizer,
    total_steps: int,
) -> ScheduleHandle:
    """Return the schedule that an optimizer's factory brings; its complaint gets a place."""
    has_own = owner and loaded.resolved.node(*owner, "optimizer") is not None
    with _refusals(loaded, (*(owner if has_own else ()), "optimizer")):
        return ScheduleHandle(factory.schedule(optimizer, total_steps))


@contextmanager
def _refusals(loaded: LoadedExperiment, place: Path) -> Iterator[None]:
    """Give a value that a component refuses its place: the key that the message begins with."""
    try:
        yield
    except MissingPackageError:
        raise
    except UserError as error:
        named = str(error).partition(" ")[0]
        exact = (*place, named) if loaded.resolved.node(*place, named) is not None else place
        raise ConfigError(loaded.resolved.problem(exact, str(error))) from error


def _require_matches(
    loaded: LoadedExperiment,
    sections: Mapping[str, OptimizerSection],
    places: Mapping[str, Path],
    trained: Mapping[str, Mapping[str, Mapping[str, Tensor]]],
) -> None:
    """Refuse a pattern that no trained parameter has: it would change nothing, silently."""
    by_place: dict[Path, tuple[OptimizerSection, list[str]]] = {}
    for key, section in sections.items():
        names = by_place.setdefault(places[key], (section, []))[1]
        names += [name for parameters in trained[key].values() for name in parameters]
    problems = [
        loaded.resolved.problem(
            (*place, "groups", number, "match"),
            f"{rule.match!r} matches no trained parameter",
            code="no-match",
            expected="a pattern of names such as " + ", ".join(names[:3]),
            suggestions=nearest(rule.match, names),
        )
        for place, (section, names) in by_place.items()
        for number, rule in enumerate(section.groups)
        if not any(fnmatchcase(name, rule.match) for name in names)
    ]
    if problems:
        raise ConfigError(problems)


def _require_known_settings(
    loaded: LoadedExperiment,
    place: Path,
    section: OptimizerSection,
    factory: Any,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Refuse settings of groups that the optimizer would keep and never look at."""
    known = set(optimizer.defaults)
    if not isinstance(factory, ClassOptimizerFactory):
        known |= set(inspect.signature(type(factory)).parameters)
    problems = [
        loaded.resolved.problem(
            (*place, "groups", number, key),
            f"{section.component['_type_']} has no setting {key!r}",
            on="key",
            code="unknown-key",
            suggestions=nearest(key, sorted(known)),
        )
        for number, rule in enumerate(section.groups)
        for key in rule.settings
        if key not in known
    ]
    if section.no_decay is not None and "weight_decay" not in known:
        message = f"{section.component['_type_']} has no 'weight_decay'; remove this key"
        problems.append(loaded.resolved.problem((*place, _NO_DECAY), message, on="key"))
    if problems:
        raise ConfigError(problems)


def optimizer_factory(spec: Mapping[str, Any], plugins: Plugins) -> Any:
    """Return the factory that a spec names, also for a class of `torch.optim`.

    Raises:
        ConfigError: The component cannot be had, or refuses a value.
    """
    kinds = ("optim_factory", "optim_cls")
    target = load_component(spec["_type_"], plugins, kind=kinds)
    if plugins.find(spec["_type_"], kinds).kind == "optim_cls":
        return ClassOptimizerFactory(target, spec["_type_"], _arguments(spec))
    return instantiate(spec, plugins, kind=kinds)


def _scheduler_factory(spec: Mapping[str, Any], loaded: LoadedExperiment) -> Any:
    kinds = ("sched_factory", "sched_cls")
    if loaded.plugins.find(spec["_type_"], kinds).kind == "sched_cls":
        arguments = _arguments(spec)
        target = load_component(spec["_type_"], loaded.plugins, kind=kinds)
        return ClassSchedulerFactory(target, spec["_type_"], arguments)
    return instantiate(spec, loaded.plugins, kind=kinds)


def _arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != "_type_"}


def _require_shapes(loaded: LoadedExperiment, name: str, module: nn.Module) -> None:
    lazy = [key for key, p in module.named_parameters() if isinstance(p, UninitializedParameter)]
    if lazy:
        message = (
            f"the component {name!r} has lazy parameters ({lazy[0]}); give the layer its sizes, "
            "or its inputs their shapes"
        )
        raise ConfigError(loaded.resolved.problem(component_place(loaded, name), message))
