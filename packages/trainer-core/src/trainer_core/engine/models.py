"""Compiled components -> modules with their first weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from policy_constructor.build import from_ir
from policy_constructor.errors import ConfigError
from trainer_core.engine.optimizers import component_place
from trainer_core.instantiate import load_component, placed
from trainer_core.random import derive_seed
from trainer_core.seeding import set_global_seed
from trainer_core.weights import freeze_module, initialize_module, load_component_weights

if TYPE_CHECKING:
    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["build_models"]


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
        section, place = loaded.config.models[name], component_place(loaded, name)
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
