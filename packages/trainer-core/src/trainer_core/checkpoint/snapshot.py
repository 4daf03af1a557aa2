"""A run's state -> a snapshot that can be written later; and a checkpoint -> the run's state."""

from __future__ import annotations

import json
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trainer_core.checkpoint.continuation import CURE, STATE_TOPICS, describe, require_same
from trainer_core.checkpoint.data_description import describe_data
from trainer_core.checkpoint.document import read_state
from trainer_core.checkpoint.layout import STATE
from trainer_core.checkpoint.packing import pack, unpack
from trainer_core.checkpoint.shadow import borrow
from trainer_core.checkpoint.transfer import advance_schedule, keep_settings, settings_of
from trainer_core.checkpoint.writer import Snapshot
from trainer_core.errors import CheckpointError
from trainer_core.seeding import get_host_rng_state, set_host_rng_state
from trainer_core.shards import in_place, is_sharded, part_like
from trainer_core.weights import describe_mismatch, load_state_strictly, whole_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn

    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.checkpoint.shadow import Stage
    from trainer_core.engine.state import RunState

__all__ = [
    "load_payload",
    "restore_counters",
    "restore_training",
    "take_snapshot",
    "unique_tensors",
]

_log = logging.getLogger(__name__)

_PLUGINS = "plugins/"


def take_snapshot(
    state: RunState,
    payload: Mapping[str, Any],
    texts: Mapping[str, str],
    loop: Mapping[str, Any],
    stage: Stage = borrow,
    whole: Mapping[int, Tensor] = MappingProxyType({}),
) -> Snapshot:
    """Gather everything that going on from here needs.

    Args:
        state: The run, between two steps.
        payload: State of callbacks and plugins by their names.
        texts: Further files by name: the resolved configuration and the like.
        loop: The loop's own counters, as JSON data.
        stage: Brings the tensors of a file to the CPU: `Shadow.copy`, or `borrow` where the
            snapshot is written before training goes on.
        whole: Sharded weights as a whole, by their `id`.

    Raises:
        CheckpointError: Some state is neither numbers, text nor tensors.
    """
    experiment = state.experiment
    snapshot = Snapshot(step=state.step, texts=dict(texts))
    document: dict[str, Any] = {
        "step": state.step,
        "samples": state.samples,
        "epoch": state.epoch,
        "seed": experiment.seed,
        "global_batch": experiment.global_batch,
        "metrics": state.metrics,
        "evaluation": state.evaluation,
        "loop": dict(loop),
        "host_rng": get_host_rng_state(),
        "settings": describe(state),
        "data": describe_data(experiment.dataset),
        "aliases": {},
    }

    def put(file: str, tensors: Mapping[str, Tensor]) -> None:
        snapshot.tensors[file] = stage(file, tensors)

    for name, module in experiment.models.items():
        with in_place(module, whole):
            tensors, document["aliases"][name] = unique_tensors(module)
        put(f"model.{name}.safetensors", tensors)
    names = _parameter_names(experiment.models)
    document["optimizers"] = {}
    document["optimizer_classes"] = {n: type(o).__name__ for n, o in experiment.optimizers.items()}
    document["averaging"] = [
        name
        for name, each in experiment.optimizers.items()
        if callable(getattr(each, "eval", None))
    ]
    for name, optimizer in experiment.optimizers.items():
        data, tensors = pack(_name_parameters(optimizer, names), f"optimizer {name}")
        document["optimizers"][name] = data
        put(f"optim.{name}.safetensors", tensors)
    schedules = {name: handle.scheduler.state_dict() for name, handle in state.schedules.items()}
    document["schedules"], tensors = pack(schedules, "scheduler")
    if tensors:
        put("schedules.safetensors", tensors)
    for name, tree in payload.items():
        data, tensors = pack(tree, name)
        snapshot.texts[f"{_PLUGINS}{name}.json"] = json.dumps(data)
        if tensors:
            put(f"{_PLUGINS}{name}.safetensors", tensors)
    snapshot.texts[STATE] = json.dumps(document, indent=1) + "\n"
    snapshot.texts["norm_stats.json"] = json.dumps(state.normalizer.to_json(), indent=1) + "\n"
    snapshot.manifest = {
        "world_size": state.ranks.world_size,
        "global_batch": experiment.global_batch,
    }
    return snapshot


def restore_training(state: RunState, checkpoint: Checkpoint, *, is_chosen: bool = False) -> None:
    """Put weights, optimizers, schedules and the global generators where they were.

    Args:
        state: The run, newly built.
        checkpoint: Where it goes on.
        is_chosen: The user named the checkpoint, and may go on with other data and settings.

    Raises:
        CheckpointError: The checkpoint is of another model, optimizer, schedule or data set; the
            message lists the components, keys and shapes that differ.
    """
    experiment = state.experiment
    document = read_state(checkpoint)
    _check_components(experiment.models, checkpoint)
    restored = {name: _stored_state(checkpoint, document, name) for name in experiment.models}
    for name, module in experiment.models.items():  # all are compared before any is changed
        _require_fit(name, module, restored[name], checkpoint)
    run = None if experiment.loaded is None else experiment.loaded.config.run
    changed = require_same(
        describe(state),
        document.get("settings", {}),
        checkpoint.path,
        allow=frozenset(() if run is None else run.allow),
        is_chosen=is_chosen,
        loaded=experiment.loaded,
    )
    for name, module in experiment.models.items():
        load_state_strictly(module, restored[name], component=name, origin=str(checkpoint.path))
    names = _parameter_names(experiment.models)
    for name, optimizer in experiment.optimizers.items():
        data = document["optimizers"].get(name)
        if data is None:
            have = ", ".join(document["optimizers"]) or "none"
            msg = f"the checkpoint {checkpoint.path} has no optimizer {name!r}; it has {have}"
            raise CheckpointError(msg)
        if _is_other_class(name, optimizer, document) and "optimizer" in changed:
            _log.warning("the optimizer %r is another one: its state begins anew", name)
            continue
        tensors = checkpoint.read_tensors(f"optim.{name}.safetensors")
        settings = settings_of(optimizer)
        _load_optimizer(name, optimizer, unpack(data, tensors), names, checkpoint)
        if changed & STATE_TOPICS:
            keep_settings(optimizer, settings)
    _restore_schedules(state, checkpoint, document, changed)


def restore_counters(state: RunState, checkpoint: Checkpoint) -> dict[str, Any]:
    """Put the counters and the generators where they were; return the loop's own counters."""
    document = read_state(checkpoint)
    state.step = int(document["step"])
    state.samples = int(document["samples"])
    state.metrics = dict(document["metrics"])
    state.evaluation = dict(document["evaluation"])
    set_host_rng_state(document["host_rng"])
    return dict(document["loop"])


def load_payload(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the state of callbacks and plugins by their names."""
    payload = {}
    for file in checkpoint.names(_PLUGINS):
        if file.endswith(".json"):
            stem = file.removesuffix(".json")
            tensors_file = f"{stem}.safetensors"
            tensors = checkpoint.read_tensors(tensors_file) if checkpoint.has(tensors_file) else {}
            payload[stem.removeprefix(_PLUGINS)] = unpack(checkpoint.read_json(file), tensors)
    return payload


def unique_tensors(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a module's tensors, and which names share the tensor of another name."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first_name: dict[tuple[Any, ...], str] = {}
    for name, tensor in module.state_dict().items():
        identity = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tuple(tensor.shape),
            tensor.stride(),
            tensor.dtype,
        )
        if tensor.numel() and identity in first_name:
            aliases[name] = first_name[identity]
        else:
            first_name[identity] = name
            kept[name] = tensor
    return kept, aliases


def _restore_schedules(
    state: RunState, checkpoint: Checkpoint, document: Mapping[str, Any], changed: frozenset[str]
) -> None:
    has_tensors = checkpoint.has("schedules.safetensors")
    tensors = checkpoint.read_tensors("schedules.safetensors") if has_tensors else {}
    schedules = unpack(document["schedules"], tensors)
    for name, handle in state.schedules.items():
        if name not in schedules:
            if "schedule" in changed:
                continue
            msg = f"the checkpoint {checkpoint.path} has no schedule for the optimizer {name!r}"
            raise CheckpointError(msg)
        if changed & STATE_TOPICS:
            advance_schedule(name, handle, schedules[name])
        else:
            handle.scheduler.load_state_dict(schedules[name])


def _check_components(models: nn.ModuleDict, checkpoint: Checkpoint) -> None:
    stored = {
        name.removeprefix("model.").removesuffix(".safetensors")
        for name in checkpoint.names("model.")
    }
    missing, surplus = sorted(set(models) - stored), sorted(stored - set(models))
    if missing or surplus:
        parts = [f"it has no component {name!r}" for name in missing]
        parts += [f"its component {name!r} is not in the model" for name in surplus]
        msg = f"the checkpoint {checkpoint.path} is of another model: {'; '.join(parts)}{CURE}"
        raise CheckpointError(msg)


def _stored_state(
    checkpoint: Checkpoint, document: Mapping[str, Any], name: str
) -> dict[str, Tensor]:
    tensors = checkpoint.read_tensors(f"model.{name}.safetensors")
    for alias, canonical in document["aliases"].get(name, {}).items():
        if canonical in tensors:
            tensors[alias] = tensors[canonical]
    return tensors


def _require_fit(
    name: str, module: nn.Module, state: Mapping[str, Tensor], checkpoint: Checkpoint
) -> None:
    differences = describe_mismatch(whole_state(module), state)
    if differences:
        lines = "".join(f"\n  {line}" for line in differences)
        msg = (
            f"the checkpoint {checkpoint.path} is of another model; "
            f"component {name!r} differs:{lines}{CURE}"
        )
        raise CheckpointError(msg)


def _is_other_class(
    name: str, optimizer: torch.optim.Optimizer, document: Mapping[str, Any]
) -> bool:
    return bool(document.get("optimizer_classes", {}).get(name) != type(optimizer).__name__)


def _parameter_names(models: nn.ModuleDict) -> dict[int, str]:
    return {
        id(parameter): f"{component}/{name}"
        for component, module in models.items()
        for name, parameter in module.named_parameters()
    }


def _ordered_names(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> list[str]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [names.get(id(p), f"parameter/{i}") for i, p in enumerate(parameters)]


def _name_parameters(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Any]:
    """Return an optimizer's state with the parameters' names in place of their numbers."""
    ordered = _ordered_names(optimizer, names)
    content = optimizer.state_dict()
    return {
        "state": {ordered[number]: values for number, values in content["state"].items()},
        "param_groups": [
            {**group, "params": [ordered[number] for number in group["params"]]}
            for group in content["param_groups"]
        ],
    }


def _load_optimizer(
    name: str,
    optimizer: torch.optim.Optimizer,
    content: Mapping[str, Any],
    names: Mapping[int, str],
    checkpoint: Checkpoint,
) -> None:
    ordered = _ordered_names(optimizer, names)
    number = {parameter: i for i, parameter in enumerate(ordered)}
    stored = [parameter for group in content["param_groups"] for parameter in group["params"]]
    sizes = [len(group["params"]) for group in content["param_groups"]]
    if stored != ordered or sizes != [len(group["params"]) for group in optimizer.param_groups]:
        differing = sorted(set(stored) ^ set(ordered)) or ["their order or grouping"]
        msg = (
            f"the checkpoint {checkpoint.path} has another optimizer {name!r}: the parameters "
            f"differ in {', '.join(differing[:5])}{CURE}"
        )
        raise CheckpointError(msg)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.load_state_dict(
        {
            "state": {
                number[parameter]: _cut_like(parameters[number[parameter]], values)
                for parameter, values in content["state"].items()
            },
            "param_groups": [
                {**group, "params": [number[parameter] for parameter in group["params"]]}
                for group in content["param_groups"]
            ],
        }
    )


def _cut_like(parameter: Tensor, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave of an optimizer's state for a parameter the part that belongs to this process."""
    if not is_sharded(parameter):
        return values
    return {
        key: part_like(value, parameter)
        if getattr(value, "shape", None) == parameter.shape
        else value
        for key, value in values.items()
    }
