"""Compiled components -> modules with their weights, on the device; and their optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from policy_constructor.build import from_ir
from policy_constructor.errors import ConfigError
from trainer_core.instantiate import instantiate, load_component, placed
from trainer_core.optim import ClassOptimizerFactory, ClassSchedulerFactory, ScheduleHandle
from trainer_core.random import derive_seed
from trainer_core.seeding import set_global_seed
from trainer_core.weights import freeze_module, initialize_module, load_component_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["build_models", "build_optimizers", "build_schedules"]

_SHARED = "default"


def build_models(loaded: LoadedExperiment) -> nn.ModuleDict:
    """Return the components with their first weights, on the CPU.

    The weights of a component depend on the seed and on its name alone.

    Raises:
        ConfigError: A name cannot be a file's name, or a module refuses its arguments.
        CheckpointError: A `weights` file does not fit.
    """
    models = nn.ModuleDict()
    registries = loaded.plugins.registries
    for name, plan in loaded.models.items():
        section, place = loaded.config.models[name], _place(loaded, name)
        if hasattr(models, name):
            message = f"{name!r} is taken by a method of torch's ModuleDict; choose another name"
            raise ConfigError(loaded.resolved.problem(place, message, on="key"))
        set_global_seed(derive_seed(loaded.config.run.seed, "model", name) >> 31)
        module = from_ir(plan.graph, blocks=registries["block"], ops=registries["op"])
        if section.initializer is not None:
            with placed(loaded.resolved, *place, "init"):
                initializer = load_component(section.initializer, loaded.plugins, kind="init")
            initialize_module(module, initializer)
        if section.weights is not None:
            load_component_weights(module, name, section.weights)
        if section.freeze:
            freeze_module(module)
        models[name] = module
    return models


def build_optimizers(
    loaded: LoadedExperiment, models: nn.ModuleDict
) -> tuple[dict[str, torch.optim.Optimizer], dict[str, Any]]:
    """Return the optimizers by name, and their factories.

    A component with an `optimizer` of its own has one of its name; the others share `default`.

    Raises:
        ConfigError: A trained component has no optimizer, or a component has lazy parameters.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    specs: dict[str, Mapping[str, Any]] = {}
    for name, module in models.items():
        _require_shapes(loaded, name, module)
        parameters = [p for p in module.parameters() if p.requires_grad]
        if not parameters:
            continue
        own = loaded.config.models[name].optimizer
        spec = own if own is not None else loaded.config.optimizer
        if spec is None:
            message = f"the component {name!r} is trained and has no optimizer"
            raise ConfigError(loaded.resolved.problem(("optimizer",), message))
        key = name if own is not None else _SHARED
        specs[key] = spec
        groups.setdefault(key, []).append({"params": parameters, "name": name})
    factories: dict[str, Any] = {}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    for key, chosen in specs.items():
        section = () if key == _SHARED else _place(loaded, key)
        with placed(loaded.resolved, *section, "optimizer"):
            factories[key] = _optimizer_factory(chosen, loaded)
            optimizers[key] = factories[key].build(groups[key])
    return optimizers, factories


def build_schedules(
    loaded: LoadedExperiment,
    optimizers: Mapping[str, torch.optim.Optimizer],
    factories: Mapping[str, Any],
    total_steps: int,
) -> dict[str, ScheduleHandle]:
    """Return the learning-rate schedules by the name of their optimizer.

    An optimizer factory may bring its own; the `scheduler:` section is for the others.

    Raises:
        ConfigError: There is a `scheduler:` and every optimizer brings its own schedule.
    """
    spec = loaded.config.scheduler
    schedules: dict[str, ScheduleHandle] = {}
    wanting = [name for name in optimizers if not hasattr(factories[name], "schedule")]
    if spec is not None and optimizers and not wanting:
        message = "the optimizer brings its own schedule; remove this section"
        raise ConfigError(loaded.resolved.problem(("scheduler",), message))
    for name, optimizer in optimizers.items():
        if name not in wanting:
            schedules[name] = ScheduleHandle(factories[name].schedule(optimizer, total_steps))
        elif spec is not None:
            with placed(loaded.resolved, "scheduler"):
                factory = _scheduler_factory(spec, loaded)
                schedule = factory.build(optimizer, total_steps)
            monitor = getattr(factory, "monitor", None)
            schedules[name] = ScheduleHandle(schedule, factory.interval, monitor)
    return schedules


def _place(loaded: LoadedExperiment, name: str) -> tuple[str, ...]:
    """Return the path of a component in the file: a single model is the section `model`."""
    return ("model",) if loaded.resolved.node("models") is None else ("models", name)


def _optimizer_factory(spec: Mapping[str, Any], loaded: LoadedExperiment) -> Any:
    kinds = ("optim_factory", "optim_cls")
    if loaded.plugins.find(spec["_type_"], kinds).kind == "optim_cls":
        arguments = _arguments(spec)
        return ClassOptimizerFactory(_load(spec, kinds, loaded), spec["_type_"], arguments)
    return instantiate(spec, loaded.plugins, kind=kinds)


def _scheduler_factory(spec: Mapping[str, Any], loaded: LoadedExperiment) -> Any:
    kinds = ("sched_factory", "sched_cls")
    if loaded.plugins.find(spec["_type_"], kinds).kind == "sched_cls":
        arguments = _arguments(spec)
        return ClassSchedulerFactory(_load(spec, kinds, loaded), spec["_type_"], arguments)
    return instantiate(spec, loaded.plugins, kind=kinds)


def _load(spec: Mapping[str, Any], kinds: tuple[str, ...], loaded: LoadedExperiment) -> Any:
    return load_component(spec["_type_"], loaded.plugins, kind=kinds)


def _arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != "_type_"}


def _require_shapes(loaded: LoadedExperiment, name: str, module: nn.Module) -> None:
    lazy = [key for key, p in module.named_parameters() if isinstance(p, UninitializedParameter)]
    if lazy:
        message = (
            f"the component {name!r} has lazy parameters ({lazy[0]}); give the layer its sizes, "
            "or its inputs their shapes"
        )
        raise ConfigError(loaded.resolved.problem(_place(loaded, name), message))
