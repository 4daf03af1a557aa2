"""Tensors of which every process holds a part: the DTensors of `torch.distributed.tensor`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from torch import Tensor

__all__ = ["gather_whole", "in_place", "is_sharded", "own_part", "part_like"]


def is_sharded(tensor: object) -> bool:
    """Return whether each process has only a part of a tensor."""
    return hasattr(tensor, "full_tensor")


@torch.no_grad()
def own_part(tensor: Tensor) -> Tensor:
    """Return this process' part of a tensor, in the same memory; of an ordinary one, all of it."""
    part: Tensor = tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined] # a DTensor's method
    return part.detach()


def part_like(tensor: Tensor, target: Tensor) -> Tensor:
    """Return a whole tensor, which every process has, cut like another one; nobody waits.

    Args:
        tensor: On any device.
        target: Of the same shape; an ordinary one leaves the tensor as it is.
    """
    if not is_sharded(target):
        return tensor
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415 - only where it is used

    return distribute_tensor(
        tensor.to(target.device),
        target.device_mesh,  # type: ignore[attr-defined] # a DTensor's
        target.placements,  # type: ignore[attr-defined] # the same
        src_data_rank=None,
    )


def gather_whole(tensors: Iterable[Tensor], *, keep: bool) -> dict[int, Tensor]:
    """Put sharded tensors together, one after the other; all processes do it at the same time.

    Args:
        tensors: The same ones in the same order everywhere; ordinary ones are passed over.
        keep: Whether this process wants the result.

    Returns:
        The whole tensors on the CPU by the `id` of the sharded ones; nothing where `keep` is
        false.
    """
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    for tensor in tensors:
        if not is_sharded(tensor) or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        whole: Tensor = tensor.detach().full_tensor()  # type: ignore[attr-defined] # a DTensor's
        if keep:
            found[id(tensor)] = whole.to("cpu")
    return found


@contextmanager
def in_place(module: nn.Module, whole: Mapping[int, Tensor]) -> Iterator[None]:
    """Put whole tensors where a module has sharded parameters, for its state dict and its hooks.

    Args:
        module: A module or several.
        whole: By the `id` of the sharded ones; those that it lacks stay.
    """
    new: dict[int, nn.Parameter] = {}
    replaced = []
    for part in module.modules():
        for name, own in part._parameters.items():  # noqa: SLF001 - names would be registered anew
            if own is not None and id(own) in whole:
                replaced.append((part, name, own))
                tensor = nn.Parameter(whole[id(own)], requires_grad=False)
                part._parameters[name] = new.setdefault(id(own), tensor)  # noqa: SLF001 - the same
    hooks = [*_hooks_of_shards(module)] if replaced else []
    for registry, key, _ in hooks:
        del registry[key]
    try:
        yield
    finally:
        for registry, key, hook in hooks:
            registry[key] = hook
        for part, name, own in replaced:
            part._parameters[name] = own  # noqa: SLF001 - the same


def _hooks_of_shards(module: nn.Module) -> Iterator[tuple[dict[int, Any], int, Any]]:
    """Yield what torch calls after loading a state dict, and which takes only sharded weights."""
    for part in module.modules():
        registry = part._load_state_dict_post_hooks  # noqa: SLF001 - torch offers no other way
        for key, hook in registry.items():
            if getattr(hook, "__module__", "").startswith("torch.distributed.fsdp"):
                yield registry, key, hook
