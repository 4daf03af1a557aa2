"""Memory that a run's tensors are copied into: training may go on while they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch

from trainer_core.checkpoint.tensor_file import require_storable
from trainer_core.errors import CheckpointError
from trainer_core.shards import is_sharded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

__all__ = ["Shadow", "Stage", "borrow", "whole_tensor", "with_whole"]

Stage: TypeAlias = "Callable[[str, Mapping[str, Tensor]], dict[str, Tensor]]"
"""Brings the tensors of a file to the CPU: `(file, tensors)` to tensors."""

_ALIGNMENT = 64


def whole_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor of a state dict without its graph; of a sharded one, the whole.

    All ranks of a sharded one (`torch.distributed.tensor.DTensor`) have to be here.
    """
    gather = getattr(tensor, "full_tensor", None)
    whole: Tensor = tensor if gather is None else gather()
    return whole.detach()


def borrow(file: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors for a file that is written before training goes on: nothing is copied.

    Args:
        file: Name of the file, for messages.
        tensors: By name; those of a device are brought to the CPU.
    """
    whole = {name: whole_tensor(tensor) for name, tensor in tensors.items()}
    require_storable(whole, file)
    return {name: tensor.to("cpu").contiguous() for name, tensor in whole.items()}


def with_whole(stage: Stage, whole: Mapping[int, Tensor]) -> Stage:
    """Return a stage that takes sharded tensors from those that the ranks have put together.

    Args:
        stage: For all other tensors.
        whole: What `trainer_core.shards.gather_whole` returned. They are nobody else's, so they
            are not copied.
    """
    memory = {tensor.untyped_storage().data_ptr() for tensor in whole.values()}

    def is_together(tensor: Tensor) -> bool:
        if is_sharded(tensor):
            return id(tensor) in whole
        return tensor.untyped_storage().data_ptr() in memory

    def bring(file: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        lost = [n for n, t in tensors.items() if is_sharded(t) and id(t) not in whole]
        if lost:
            msg = (
                f"{file}: of {lost[0]!r} each process has a part, and they did not put it together "
                "before this; append a function that returns it to state.sharded"
            )
            raise CheckpointError(msg)
        own = stage(file, {n: t for n, t in tensors.items() if not is_together(t)})
        ours = {n: whole.get(id(t), t) for n, t in tensors.items() if is_together(t)}
        together = borrow(file, ours)
        return {name: own[name] if name in own else together[name] for name in tensors}

    return bring


class Shadow:
    """One copy of what a run saves, allocated at the first save and used again by the next.

    Each file has one block of memory; it is allocated anew only when the file grows. Memory for
    tensors of a CUDA device is pinned, so that they are copied while the device computes.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, Tensor] = {}
        self._events: list[torch.cuda.Event] = []

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(block.numel() for block in self._blocks.values())

    def copy(self, file: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copy the tensors of a file; return the copies, which the next save overwrites.

        With CUDA tensors, the copies are complete after `wait`.
        """
        whole = {name: whole_tensor(tensor) for name, tensor in tensors.items()}
        require_storable(whole, file)
        places, size = {}, 0
        for name, tensor in whole.items():
            places[name] = size
            size += -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT
        devices = {tensor.device for tensor in whole.values() if tensor.device.type == "cuda"}
        block = self._block(file, size, pinned=bool(devices))
        copies = {}
        for name, tensor in whole.items():
            length = tensor.numel() * tensor.element_size()
            part = block[places[name] : places[name] + length]
            copies[name] = part.view(tensor.dtype).view(tensor.shape)
            _copy_into(part, copies[name], tensor)
        for device in devices:
            self._events.append(torch.cuda.Event())  # type: ignore[no-untyped-call] # torch's own
            self._events[-1].record(torch.cuda.current_stream(device))
        return copies

    def wait(self) -> None:
        """Wait until all copies from devices are complete."""
        for event in self._events:
            event.synchronize()
        self._events.clear()

    def _block(self, file: str, size: int, *, pinned: bool) -> Tensor:
        block = self._blocks.get(file)
        if block is None or block.numel() < size:
            self._blocks.pop(file, None)  # the smaller one goes before the larger one comes
            block = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
            self._blocks[file] = block
        return block


def _copy_into(part: Tensor, copy: Tensor, tensor: Tensor) -> None:
    """Fill `copy`, which is `part` seen as numbers."""
    if tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.numel():
        # One thread is as fast as several, which wait for one another where processors are busy.
        part.numpy()[:] = tensor.reshape(-1).view(torch.uint8).numpy()
    else:
        copy.copy_(tensor, non_blocking=True)
