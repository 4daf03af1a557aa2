"""A checked experiment -> everything built: data, models, optimizers, trainer, what listens."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

from policy_constructor.errors import ConfigError
from trainer_core.callbacks.model_checkpoint import ModelCheckpoint
from trainer_core.engine.built import Experiment
from trainer_core.engine.hardware import configure_torch, resolve_device, resolve_precision
from trainer_core.engine.hooks import Hooks
from trainer_core.engine.limits import limit_data
from trainer_core.engine.models import build_models
from trainer_core.engine.module_options import apply_module_options
from trainer_core.engine.optimizers import build_optimizers, build_schedules
from trainer_core.engine.probe import check_first_batch
from trainer_core.engine.signals import leave_early
from trainer_core.errors import DatasetError
from trainer_core.instantiate import instantiate, load_component, placed
from trainer_core.normalize import Normalizer
from trainer_core.step import StepOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.experiment.schema import ExperimentConfig
    from trainer_core.ranks import Ranks

__all__ = ["Experiment", "build_experiment", "build_trainer"]


@leave_early()
def build_experiment(loaded: LoadedExperiment, ranks: Ranks) -> Experiment:
    """Build an experiment; nothing is written.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        DatasetError: The data set cannot be read or does not fit the model.
        Interrupted: A signal came.
    """
    config, plugins, problem = loaded.config, loaded.plugins, loaded.resolved.problem
    configure_torch(config.run, config.data.num_workers)
    device = resolve_device(config.run.device, local_rank=ranks.local_rank, problem=problem)
    precision = resolve_precision(config.run.precision, device, problem=problem)
    _check_batch_size(loaded, ranks)
    manager = plugins.hook_manager()
    callbacks = _build_list(loaded, "callbacks", "cb")
    hooks = Hooks(manager, _with_default_callbacks(callbacks))
    run: dict[str, Any] = {"name": config.run.name, "out_dir": config.run.out_dir}
    run |= {"rank": ranks.rank, "world_size": ranks.world_size}
    hooks.call("trainer_configure", config=config, run=run)
    models = build_models(loaded)
    hooks.call("trainer_model_built", models=models, config=config)
    models = ranks.prepare(models)
    models.to(device)
    apply_module_options(loaded, models, device)
    ranks.shard(models)
    optimizers, factories = build_optimizers(loaded, models)
    total_steps, schedules = config.trainer.max_steps, None
    if total_steps is not None:  # what does not fit shows before data are recorded or downloaded
        schedules = build_schedules(loaded, optimizers, factories, total_steps)
    data = _build_data(loaded, ranks)
    dataset, val_dataset = limit_data(data, config)
    if total_steps is None or schedules is None:
        total_steps = _steps_of_epochs(config, len(dataset))
        schedules = build_schedules(loaded, optimizers, factories, total_steps)
    options = StepOptions(
        seed=config.run.seed,
        total_steps=total_steps,
        global_batch=config.data.batch_size,
        precision=precision,
        grad_clip_norm=config.trainer.grad_clip_norm,
        grad_clip_value=config.trainer.grad_clip_value,
        grad_clip_scope=config.trainer.grad_clip_scope,
        on_nonfinite=config.trainer.on_nonfinite,
        grad_accum_steps=config.trainer.grad_accum_steps,
        ranks=ranks,
    )
    trainer = build_trainer(loaded, models, optimizers, device, options)
    evaluation = config.evaluation
    experiment = Experiment(
        name=config.run.name,
        seed=config.run.seed,
        device=device,
        models=models,
        optimizers=optimizers,
        schedules=schedules,
        trainer=trainer,
        dataset=dataset,
        val_dataset=val_dataset,
        normalizer=Normalizer(data.get("norm_stats")).to(device),
        global_batch=config.data.batch_size,
        total_steps=total_steps,
        settings=config.trainer,
        num_workers=config.data.num_workers,
        evaluator=_build_evaluator(loaded),
        evaluate_every=evaluation.every if evaluation else 0,
        metrics=_build_list(loaded, "metrics", "metric"),
        hooks=hooks,
        loggers=_build_list(loaded, "loggers", "log"),
        loaded=loaded,
    )
    _check_validation(experiment, loaded)
    if not ranks.is_sharded:  # else they need one another for it: the runner lets them meet first
        check_first_batch(experiment)
    return experiment


def _build_list(loaded: LoadedExperiment, section: str, kind: str) -> list[Any]:
    built = []
    for number, spec in enumerate(getattr(loaded.config, section)):
        with placed(loaded.resolved, section, number):
            built.append(instantiate(spec, loaded.plugins, kind=kind))
    return built


def _build_evaluator(loaded: LoadedExperiment) -> Any:
    if loaded.config.evaluation is None:
        return None
    with placed(loaded.resolved, "evaluation"):
        return instantiate(loaded.config.evaluation.component, loaded.plugins, kind="eval")


def _build_data(loaded: LoadedExperiment, ranks: Ranks) -> Mapping[str, Any]:
    config = loaded.config
    with placed(loaded.resolved, "data"):
        factory = instantiate(config.data.component, loaded.plugins, kind="data")
    opt_params = {
        "local_rank": ranks.local_rank,
        "dist_enabled": ranks.world_size > 1,
        "save_dir": config.run.out_dir,
    }
    with placed(loaded.resolved, "data"):
        data: Mapping[str, Any] = factory.build(opt_params, {})
    if "dataset" not in data or not hasattr(data["dataset"], "__len__"):
        name = config.data.component["_type_"]
        msg = f"{name}.build must return a 'dataset' with a length; it returned {sorted(data)}"
        raise DatasetError(msg)
    if len(data["dataset"]) == 0:
        msg = f"the data set of {config.data.component['_type_']} is empty"
        raise DatasetError(msg)
    return data


def _steps_of_epochs(config: ExperimentConfig, size: int) -> int:
    epochs = config.trainer.max_epochs or 1.0  # a checked file has one of the two
    return max(1, math.ceil(epochs * size / config.data.batch_size))


def _check_batch_size(loaded: LoadedExperiment, ranks: Ranks) -> None:
    size = loaded.config.data.batch_size
    accumulation = loaded.config.trainer.grad_accum_steps
    parts = ranks.world_size * accumulation
    if size % parts:
        lower, upper = size // parts * parts, -(-size // parts) * parts
        near = f"{lower} or {upper}" if lower else str(upper)
        message = (
            f"a batch of {size} cannot be cut into {ranks.world_size} ranks times {accumulation} "
            f"micro-batches; {near} can"
        )
        raise ConfigError(loaded.resolved.problem(("data", "batch_size"), message))


def _with_default_callbacks(callbacks: list[Any]) -> list[Any]:
    if any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        return callbacks
    return [*callbacks, ModelCheckpoint()]


def build_trainer(
    loaded: LoadedExperiment,
    models: nn.ModuleDict,
    optimizers: dict[str, torch.optim.Optimizer],
    device: torch.device,
    options: StepOptions,
) -> Any:
    """Return the trainer of an experiment, with its loss and what the engine decides.

    Raises:
        ConfigError: The trainer or the loss refuses a value, or cannot honour a key of the engine.
    """
    config, plugins = loaded.config, loaded.plugins
    spec = config.trainer.component
    loss = None
    if config.loss is not None:
        with placed(loaded.resolved, "loss"):
            loss = instantiate(config.loss, plugins, kind="loss").build()
        loss = loss.to(device) if hasattr(loss, "to") else loss
    supplied = {"models": models, "optimizers": optimizers, "loss": loss, "device": device}
    trainer_class = load_component(spec["_type_"], plugins, kind="trainer")
    if "io" in inspect.signature(trainer_class).parameters and config.io is not None:
        with placed(loaded.resolved, "io"):
            supplied["io"] = instantiate(config.io, plugins, kind="io")
    with placed(loaded.resolved, "trainer"):
        trainer = instantiate(spec, plugins, kind="trainer", **supplied)
    if hasattr(trainer, "configure"):
        trainer.configure(options)
    else:
        _refuse_engine_options(loaded)
        options.ranks.average_gradients(models)
    return trainer


def _refuse_engine_options(loaded: LoadedExperiment) -> None:
    """A trainer that owns its whole step cannot honour what the engine does around a loss."""
    config = loaded.config
    asked = {
        ("trainer", "grad_clip_norm"): config.trainer.grad_clip_norm is not None,
        ("trainer", "grad_clip_value"): config.trainer.grad_clip_value is not None,
        ("trainer", "grad_accum_steps"): config.trainer.grad_accum_steps != 1,
        ("trainer", "on_nonfinite"): config.trainer.on_nonfinite != "stop",
        ("run", "precision"): config.run.precision in {"bf16", "fp16"},
    }
    problems = [
        loaded.resolved.problem(
            path,
            f"{config.trainer.component['_type_']} owns its whole step and does not honour "
            f"{path[-1]!r}; remove it, or extend trainer_core.LossTrainer",
        )
        for path, is_asked in asked.items()
        if is_asked
    ]
    if problems:
        raise ConfigError(problems)


def _check_validation(experiment: Experiment, loaded: LoadedExperiment) -> None:
    if experiment.settings.val_every_n_steps is not None and experiment.val_dataset is None:
        name = loaded.config.data.component["_type_"]
        message = f"{name} returned no validation split; give it one, or remove this key"
        raise ConfigError(loaded.resolved.problem(("trainer", "val_every_n_steps"), message))
    if experiment.val_dataset is not None and not hasattr(experiment.trainer, "validation_step"):
        name = loaded.config.trainer.component["_type_"]
        message = f"{name} has no 'validation_step'; there will be no validation"
        if experiment.settings.val_every_n_steps is not None:
            raise ConfigError(loaded.resolved.problem(("trainer", "val_every_n_steps"), message))
        experiment.val_dataset = None
