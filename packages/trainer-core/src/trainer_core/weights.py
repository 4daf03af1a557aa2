"""Where a component's first weights come from, and which of them stay."""

from __future__ import annotations

import os
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from trainer_core.errors import CheckpointError
from trainer_core.shards import in_place, is_sharded, own_part, part_like

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "describe_mismatch",
    "freeze_module",
    "initialize_module",
    "kaiming",
    "load_component_weights",
    "load_state_strictly",
    "whole_state",
    "xavier",
]

_WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_SHOWN = 5


def xavier(weight: Tensor) -> None:
    """Fill a weight from U(-a, a) that keeps the variance forward and backward.

    Source: Glorot and Bengio 2010, equation 16.
    """
    nn.init.xavier_uniform_(weight)


def kaiming(weight: Tensor) -> None:
    """Fill a weight from a normal distribution that keeps the variance before a ReLU.

    Source: He et al. 2015, equation 10.
    """
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


@torch.no_grad()
def initialize_module(module: nn.Module, initializer: Callable[[Tensor], None]) -> None:
    """Initialise the linear and convolutional layers of a component; biases become zero.

    Sub-modules that are pretrained (an attribute `pretrained` that is true) are left alone with
    all that is in them.

    Args:
        module: The component.
        initializer: Fills a weight in place; `xavier`, `kaiming` or a plugin's.
    """
    if getattr(module, "pretrained", False) is True:
        return
    if isinstance(module, _WEIGHTED) and not isinstance(module.weight, UninitializedParameter):
        initializer(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for child in module.children():
        initialize_module(child, initializer)


def freeze_module(module: nn.Module) -> None:
    """Take a component out of training for good: no gradients, always in eval mode."""
    module.requires_grad_(requires_grad=False)
    module.eval()
    for part in module.modules():
        part.__dict__["train"] = MethodType(_stay_in_eval_mode, part)


def _stay_in_eval_mode(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001 - as Module.train
    return module


def load_component_weights(module: nn.Module, name: str, source: str) -> None:
    """Load a component's weights from a safetensors file or from one of our checkpoints.

    Args:
        module: The component.
        name: Its name; of a checkpoint folder, the file `model.<name>.safetensors` is read.
        source: A `.safetensors` file, a checkpoint folder, or a run folder (its newest
            checkpoint).

    Raises:
        CheckpointError: The file is missing or unreadable, or does not fit the component.
    """
    path = _find_weights(Path(os.path.expanduser(source)), name)  # noqa: PTH111 - takes any text
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as exc:
        msg = f"models.{name}.weights: {path} cannot be read as safetensors: {exc}"
        raise CheckpointError(msg) from exc
    load_state_strictly(module, tensors, component=name, origin=str(path))


def _find_weights(path: Path, name: str) -> Path:
    if path.is_file():
        return path
    folders = [path, *sorted((path / "checkpoints").glob("step-*"), reverse=True)]
    for folder in folders:
        candidate = folder / f"model.{name}.safetensors"
        if candidate.is_file():
            return candidate
    found = sorted(file.name for folder in folders for file in folder.glob("model.*.safetensors"))
    there = f"; there are {', '.join(found)}" if found else ""
    msg = f"models.{name}.weights: {path} has no model.{name}.safetensors{there}"
    raise CheckpointError(msg)


def load_state_strictly(
    module: nn.Module, state: Mapping[str, Tensor], *, component: str, origin: str
) -> None:
    """Load a state dict whose keys and shapes are exactly the module's.

    Raises:
        CheckpointError: They are not; the message lists the differences.
    """
    differences = describe_mismatch(whole_state(module), state)
    if differences:
        lines = "\n".join(f"  {line}" for line in differences)
        msg = f"{origin} does not fit the component {component!r}:\n{lines}"
        raise CheckpointError(msg)
    sharded = [parameter for parameter in module.parameters() if is_sharded(parameter)]
    whole = {id(p): torch.empty(p.shape, dtype=p.dtype) for p in sharded}
    with in_place(module, whole):  # a module may cut and join its tensors as it likes
        module.load_state_dict(dict(state))
    for parameter in sharded:
        own_part(parameter).copy_(own_part(part_like(whole[id(parameter)], parameter)))


def whole_state(module: nn.Module) -> dict[str, Any]:
    """Return a module's state dict; in place of sharded weights, only their shapes."""
    sharded = [parameter for parameter in module.parameters() if is_sharded(parameter)]
    shapes = {id(p): torch.empty(p.shape, dtype=p.dtype, device="meta") for p in sharded}
    with in_place(module, shapes):
        return module.state_dict()


def describe_mismatch(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return what differs between two state dicts, as lines of a diff; none if they fit."""
    lines = [f"- {key} {_shape(wanted[key])}  is missing" for key in wanted if key not in found]
    lines += [
        f"+ {key} {_shape(found[key])}  is not in the model" for key in found if key not in wanted
    ]
    lines += [
        f"! {key}  is {_shape(found[key])}, the model has {_shape(wanted[key])}"
        for key in wanted
        if key in found and _shape(wanted[key]) != _shape(found[key])
    ]
    if len(lines) > 2 * _SHOWN:
        rest = len(lines) - 2 * _SHOWN
        lines = [*lines[: 2 * _SHOWN], f"... and {rest} more"]
    return lines


def _shape(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else "(no tensor)"
