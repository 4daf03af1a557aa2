"""A verified checkpoint -> models, trainer and statistics, as an evaluation in the run has them.

Nothing of the data set is opened, and no optimizer goes on from here.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from policy_constructor.build import from_ir
from policy_constructor.config import resolve_config
from policy_constructor.errors import ConfigError
from policy_constructor.pretrained import without_pretrained
from trainer_core.checkpoint.document import read_state
from trainer_core.checkpoint.packing import unpack
from trainer_core.discovery.plugins import discover
from trainer_core.engine.optimizers import optimizer_factory
from trainer_core.errors import CheckpointError, UserError
from trainer_core.experiment.model_plans import plan_models
from trainer_core.experiment.schema import OptimizerSection, TrainerSection
from trainer_core.instantiate import instantiate, load_component
from trainer_core.normalize import Normalizer
from trainer_core.weights import describe_mismatch, load_state_strictly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from policy_constructor.config import ResolvedConfig
    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.discovery.plugins import Plugins

__all__ = [
    "Trained",
    "build_acting",
    "build_acting_trainer",
    "load_components",
    "load_trained",
    "read_experiment",
    "restricted_plugins",
]

_CONFIG = "config.resolved.yaml"
_READ = frozenset({"io", "loss", "model", "models", "optimizer", "trainer"})


@dataclass
class Trained:
    """What a checkpoint holds, put together to act.

    Attributes:
        models: The components by name, in eval mode, without gradients.
        trainer: The trainer, without optimizers.
        normalizer: Statistics of the data set.
        config: The experiment file that it was trained with, as plain data.
        step: Optimizer steps done.
        weights: `ema`, `averaged` (by the optimizer), `trained`, or `initial`.
    """

    models: nn.ModuleDict
    trainer: Any
    normalizer: Normalizer
    config: dict[str, Any]
    step: int
    weights: str


def load_trained(
    checkpoint: Checkpoint,
    *,
    device: torch.device | str = "cpu",
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> Trained:
    """Build what a checkpoint was saved from, with the weights that its evaluation measures.

    These are the averages of `cb.ema` where there are any, else those of an optimizer that
    averages weights itself, else the trained ones.

    Args:
        checkpoint: A verified checkpoint.
        device: Where the models are put.
        parameters: Parameters of the trainer that are to be other than in training.

    Raises:
        CheckpointError: It has no record of its experiment, or its weights do not fit that.
        ConfigError: A component is not installed, or refuses a value.
    """
    resolved = read_experiment(checkpoint)
    config = resolved.data
    plugins = restricted_plugins(config)
    models = _build_models(resolved, plugins).to(device)
    trainer = build_acting_trainer(config, models, device, plugins, parameters)
    weights = _fill(models, checkpoint, config, plugins)
    normalizer = Normalizer(checkpoint.read_json("norm_stats.json")).to(device)
    return Trained(models, trainer, normalizer, config, checkpoint.step, weights)


def build_acting(
    resolved: ResolvedConfig,
    norm_stats: Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
) -> Trained:
    """Build what acts in an experiment, for weights that are handed in later.

    Args:
        resolved: The experiment's file.
        norm_stats: Statistics of its data set, as `Normalizer` takes them.
        device: Where the models are put.

    Raises:
        ConfigError: A component is not installed, or refuses a value.
    """
    plugins = restricted_plugins(resolved.data)
    models = _build_models(resolved, plugins).to(device)
    models.eval().requires_grad_(requires_grad=False)
    trainer = build_acting_trainer(resolved.data, models, device, plugins)
    normalizer = Normalizer(norm_stats).to(device)
    return Trained(models, trainer, normalizer, resolved.data, 0, "initial")


def load_components(checkpoint: Checkpoint) -> tuple[nn.ModuleDict, str]:
    """Return the components that the file names, and which weights they have.

    Weights and errors are those of `load_trained`.
    """
    resolved = read_experiment(checkpoint)
    plugins = restricted_plugins(resolved.data)
    models = _build_models(resolved, plugins)
    return models, _fill(models, checkpoint, resolved.data, plugins)


def read_experiment(checkpoint: Checkpoint) -> ResolvedConfig:
    """Return the experiment's file; only mistakes in sections that acting needs matter.

    Raises:
        CheckpointError: The checkpoint has no record of its experiment.
        ConfigError: The file has such a mistake, for example a variable that is not set.
    """
    if not checkpoint.has(_CONFIG):
        msg = f"{checkpoint.path} has no {_CONFIG}: its model was put together in Python"
        raise CheckpointError(msg)
    resolved = resolve_config(checkpoint.path / _CONFIG, strict=False)
    problems = [p for p in resolved.problems if not p.path or p.path.split(".")[0] in _READ]
    if problems:
        raise ConfigError(problems)
    return resolved


def restricted_plugins(config: Mapping[str, Any]) -> Plugins:
    """Return the installed components that an experiment's `plugins:` section leaves."""
    section = config.get("plugins") or {}
    return discover().restricted(
        disable=section.get("disable") or [], prefer=section.get("prefer") or {}
    )


def build_acting_trainer(
    config: Mapping[str, Any],
    models: nn.ModuleDict,
    device: torch.device | str,
    plugins: Plugins,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """Return the trainer of an experiment without optimizers: it puts components together.

    Args:
        config: Plain data with the sections `trainer`, `loss` and `io`.
        models: The components.
        device: Where they are.
        plugins: Where components are found.
        parameters: Parameters of the trainer that replace those of the section.

    Raises:
        ConfigError: A component is not installed, or refuses a value.
        UserError: The trainer's constructor takes an optimizer out of `optimizers`.
    """
    engine = TrainerSection.engine_keys()
    section = config.get("trainer") or {}
    spec = {key: value for key, value in section.items() if key not in engine} | dict(parameters)
    loss = config.get("loss")
    optimizers = _NoOptimizers(str(spec.get("_type_")))
    supplied: dict[str, Any] = {"models": models, "optimizers": optimizers, "device": device}
    supplied["loss"] = None if loss is None else instantiate(loss, plugins, kind="loss").build()
    trainer_class = load_component(str(spec.get("_type_")), plugins, kind="trainer")
    if "io" in inspect.signature(trainer_class).parameters and config.get("io") is not None:
        supplied["io"] = instantiate(config["io"], plugins, kind="io")
    return instantiate(spec, plugins, kind="trainer", **supplied)


class _NoOptimizers(dict[str, Any]):
    """The optimizers of a trainer that only acts: there are none, and it is said who wants one."""

    def __init__(self, trainer: str) -> None:
        super().__init__()
        self._trainer = trainer

    def __missing__(self, name: str) -> Any:
        msg = (
            f"{self._trainer} takes optimizers[{name!r}] in its constructor, and there are no "
            "optimizers where a trained policy is loaded; keep `optimizers` there and take it in "
            "train_step"
        )
        raise UserError(msg)


def _build_models(resolved: ResolvedConfig, plugins: Plugins) -> nn.ModuleDict:
    plans, problems = plan_models(resolved, plugins)
    if problems:
        raise ConfigError(problems)
    registries = plugins.registries
    models = nn.ModuleDict()
    for name, plan in plans.items():
        with without_pretrained():  # the checkpoint has all weights
            models[name] = from_ir(plan.graph, blocks=registries["block"], ops=registries["op"])
    return models


def _fill(
    models: nn.ModuleDict, checkpoint: Checkpoint, config: Mapping[str, Any], plugins: Plugins
) -> str:
    """Load the weights that an evaluation measures; return of which kind they are."""
    document = read_state(checkpoint)
    for name, module in models.items():
        _load(checkpoint, f"model.{name}.safetensors", module, name, document)
    _average(checkpoint, document, config, models, plugins)
    averages = [name for name in models if checkpoint.has(f"ema.{name}.safetensors")]
    for name in averages:
        _load_averages(checkpoint, models[name], name)
    models.eval().requires_grad_(requires_grad=False)
    return "ema" if averages else "averaged" if document.get("averaging") else "trained"


def _load(
    checkpoint: Checkpoint, file: str, module: nn.Module, name: str, document: Mapping[str, Any]
) -> None:
    """Load a component's file."""
    tensors = checkpoint.read_tensors(file)
    for alias, canonical in document["aliases"].get(name, {}).items():
        if canonical in tensors:
            tensors.setdefault(alias, tensors[canonical])
    load_state_strictly(module, tensors, component=name, origin=str(checkpoint.path / file))


@torch.no_grad()
def _load_averages(checkpoint: Checkpoint, module: nn.Module, name: str) -> None:
    """Put a component's averages in; they go by its tensors' names, not by its state dict's."""
    file = f"ema.{name}.safetensors"
    averages = checkpoint.read_tensors(file)
    own = dict([*module.named_parameters(), *module.named_buffers()])
    differences = describe_mismatch(own, averages)
    if differences:
        lines = "\n".join(f"  {line}" for line in differences)
        msg = f"{checkpoint.path / file} does not fit the component {name!r}:\n{lines}"
        raise CheckpointError(msg)
    for key, tensor in own.items():
        tensor.copy_(averages[key])


def _average(
    checkpoint: Checkpoint,
    document: Mapping[str, Any],
    config: Mapping[str, Any],
    models: nn.ModuleDict,
    plugins: Plugins,
) -> None:
    """Let the optimizers that average weights put the averages in."""
    named = {
        f"{component}/{name}": parameter
        for component, module in models.items()
        for name, parameter in module.named_parameters()
    }
    for name in document.get("averaging", ()):
        packed = document["optimizers"][name]
        groups = [group["params"] for group in packed["param_groups"]]
        missing = [key for group in groups for key in group if key not in named]
        if missing:
            msg = f"{checkpoint.path}: optimizer {name!r} averages {missing[0]}, which no model has"
            raise CheckpointError(msg)
        factory = optimizer_factory(_optimizer_spec(config, name), plugins)
        optimizer = factory.build([{"params": [named[key] for key in group]} for group in groups])
        _restore(optimizer, packed, checkpoint.read_tensors(f"optim.{name}.safetensors"))
        optimizer.eval()


def _restore(optimizer: torch.optim.Optimizer, packed: Any, tensors: Mapping[str, Tensor]) -> None:
    content = unpack(packed, tensors)
    ordered = [key for group in content["param_groups"] for key in group["params"]]
    number = {key: position for position, key in enumerate(ordered)}
    optimizer.load_state_dict(
        {
            "state": {number[key]: values for key, values in content["state"].items()},
            "param_groups": [
                {**group, "params": [number[key] for key in group["params"]]}
                for group in content["param_groups"]
            ],
        }
    )


def _optimizer_spec(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the optimizer of that name without what only its grouping needs."""
    components = config.get("models") or {"model": config.get("model") or {}}
    own = (components.get(name) or {}).get("optimizer")
    section = own if own is not None else config.get("optimizer") or {}
    engine = OptimizerSection.engine_keys()
    return {key: value for key, value in section.items() if key not in engine}
