"""Compiled components -> modules with their first weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from policy_constructor.build import from_ir
from policy_constructor.errors import ConfigError
from policy_constructor.pretrained import without_pretrained
from trainer_core.checkpoint.reader import find_checkpoint, newest_valid
from trainer_core.engine.optimizers import component_place
from trainer_core.errors import CheckpointError
from trainer_core.instantiate import load_component, placed
from trainer_core.random import derive_seed
from trainer_core.seeding import set_global_seed
from trainer_core.weights import freeze_module, initialize_module, load_component_weights

if TYPE_CHECKING:
    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.experiment.model_plans import ModelPlan

__all__ = ["build_models"]

_log = logging.getLogger(__name__)


def build_models(loaded: LoadedExperiment) -> nn.ModuleDict:
    """Return the components with their first weights, on the CPU.

    The weights of a component depend on the seed and on its name alone.

    Raises:
        ConfigError: A name cannot be a file's name, or a module refuses its arguments. One that
            lacks its pretrained weights is built without them if the run goes on from a checkpoint.
        CheckpointError: A `weights` file does not fit.
    """
    models = nn.ModuleDict()
    for name, plan in loaded.models.items():
        section, place = loaded.config.models[name], component_place(loaded, name)
        if hasattr(models, name):
            message = f"{name!r} is taken by a method of torch's ModuleDict; choose another name"
            raise ConfigError(loaded.resolved.problem(place, message, on="key"))
        module = _build(loaded, plan)
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


def _build(loaded: LoadedExperiment, plan: ModelPlan) -> nn.Module:
    """Return a component; one whose pretrained weights are gone, if a checkpoint has them."""
    registries, seed = loaded.plugins.registries, loaded.config.run.seed

    def build() -> nn.Module:
        set_global_seed(derive_seed(seed, "model", plan.name) >> 31)
        return from_ir(plan.graph, blocks=registries["block"], ops=registries["op"])

    try:
        return build()
    except ConfigError as error:
        checkpoint = _goes_on_from(loaded)
        if checkpoint is None or not checkpoint.has(f"model.{plan.name}.safetensors"):
            raise
        try:
            with without_pretrained():
                module = build()
        except ConfigError:
            raise error from None  # it was not about weights
        reason = error.problems[0].message.partition("\n")[0]
        _log.warning("%s takes its weights from %s alone: %s", plan.name, checkpoint.path, reason)
        return module


def _goes_on_from(loaded: LoadedExperiment) -> Checkpoint | None:
    """Return the verified checkpoint that the run is about to go on from; None if there is none."""
    run = loaded.config.run
    root = Path(run.out_dir) / "checkpoints"
    try:
        if run.resume == "auto":
            return newest_valid(root, quarantine=False)
        return find_checkpoint(root, run.resume)
    except CheckpointError:
        return None
