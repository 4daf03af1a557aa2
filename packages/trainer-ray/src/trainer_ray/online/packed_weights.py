"""Weights as one array of bytes that travels without a copy, and an index into it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from trainer_core.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

__all__ = ["Index", "Packer", "load_arrays", "load_weights", "named_tensors", "unpack"]

Index: TypeAlias = "dict[str, list[Any]]"
"""`[dtype, shape, offset in bytes]` of each tensor by `<component>/<name>`; plain data."""

_ALIGNMENT = 64


def named_tensors(models: nn.ModuleDict, components: Iterable[str] | None = None) -> dict[str, Any]:
    """Return parameters and buffers by `<component>/<name>`; one that is shared has one name.

    Args:
        models: The components, unwrapped.
        components: Names of those that are meant; None: all.
    """
    return {
        f"{component}/{name}": tensor
        for component in (models if components is None else components)
        for name, tensor in [
            *models[component].named_parameters(),
            *models[component].named_buffers(),
        ]
    }


class Packer:
    """Copies tensors into one piece of memory that is used again and again.

    Args:
        tensors: What is copied, all on one device.

    Attributes:
        index: Where each of them lies.
        tensors: They themselves.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.index: Index = {}
        self.tensors = dict(tensors)
        self._sources = [tensor.detach() for tensor in tensors.values()]
        size = 0
        for name, tensor in tensors.items():
            self.index[name] = [_dtype_name(tensor), list(tensor.shape), size]
            size += -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT
        device = self._sources[0].device if self._sources else torch.device("cpu")
        self._packed = torch.zeros(size, dtype=torch.uint8, device=device)
        is_cuda = device.type == "cuda"
        self._host = self._packed.new_empty(size, device="cpu", pin_memory=is_cuda)
        self._event = torch.cuda.Event() if is_cuda else None  # type: ignore[no-untyped-call] # torch leaves it so
        self._views = _views(self._packed, self.index)

    def copy(
        self,
        instead: Mapping[str, Tensor] = MappingProxyType({}),
        change: Callable[[Mapping[str, Tensor]], None] = lambda _: None,
    ) -> None:
        """Copy the tensors as they are now. On CUDA the way to the host is only begun.

        Args:
            instead: Tensors of the same shapes and types that are copied instead, by name.
            change: Called with the copies by name; may change them in place.
        """
        if self._views:
            names = zip(self.tensors, self._sources, strict=True)
            sources = [instead.get(name, own) for name, own in names]
            torch._foreach_copy_(list(self._views.values()), sources)
            change(self._views)
        if self._packed.device.type == "cpu":
            self._host = self._packed
            return
        self._host.copy_(self._packed, non_blocking=self._event is not None)
        if self._event is not None:
            self._event.record()

    def array(self) -> NDArray[np.uint8]:
        """Return what was copied last, uint8 `(bytes,)`; the memory changes with the next copy."""
        if self._event is not None:
            self._event.synchronize()
        found: NDArray[np.uint8] = self._host.numpy()
        return found


def unpack(array: NDArray[np.uint8], index: Index) -> dict[str, Tensor]:
    """Return copies of the tensors that an index finds in an array; the array may be read-only.

    Raises:
        TrainerError: The index does not fit the array.
    """
    try:
        return _views(torch.from_numpy(np.array(array, np.uint8)), index)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        msg = f"weights arrived that do not fit their index: {error}"
        raise TrainerError(msg) from error


@torch.no_grad()
def load_arrays(models: nn.ModuleDict, layers: Iterable[tuple[NDArray[np.uint8], Index]]) -> None:
    """Put weights into models in place, one layer over the other.

    Raises:
        TrainerError: They are those of another model.
    """
    own = {
        f"{component}/{name}": tensor
        for component, module in models.items()
        for name, tensor in [
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        ]
    }
    for array, index in layers:
        for name, tensor in unpack(array, index).items():
            if name not in own or own[name].shape != tensor.shape:
                there = list(own[name].shape) if name in own else "not there"
                msg = f"weights arrived for {name} {list(tensor.shape)}, which is {there} here"
                raise TrainerError(msg)
            own[name].copy_(tensor)


def load_weights(models: nn.ModuleDict, layers: Sequence[Mapping[str, Any]]) -> None:
    """Fetch the layers that `PolicyStateManager.newest` names, and put them into models in place.

    Args:
        models: The components, on any device.
        layers: `{"refs": [ObjectRef], "index": Index}` of each.

    Raises:
        TrainerError: They are those of another model.
        RayError: They are gone: there are newer ones.
    """
    import ray  # noqa: PLC0415 - what packs weights needs no Ray

    arrays = ray.get([layer["refs"][0] for layer in layers])
    load_arrays(
        models, [(array, layer["index"]) for array, layer in zip(arrays, layers, strict=True)]
    )


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _views(packed: Tensor, index: Index) -> dict[str, Tensor]:
    """Return the tensors of an index as views."""
    views = {}
    for name, (dtype_name, shape, offset) in index.items():
        dtype = getattr(torch, dtype_name)
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        part = packed[offset : offset + count]
        views[name] = part.view(dtype).view(shape) if count else torch.empty(shape, dtype=dtype)
    return views
