"""What the memory is full of, at a step or when it does not suffice."""

from __future__ import annotations

import gc
import logging
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from trainer_core.errors import StorageError
from trainer_core.hookspecs import hookimpl
from trainer_core.storage import make_folder, storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.ranges import Positive
    from trainer_core.engine.state import RunState

__all__ = ["MemorySnapshot"]

_log = logging.getLogger(__name__)

_NEVER = 2**62
_MIB = 1 << 20


class MemorySnapshot:
    """Writes what holds the memory, when it does not suffice and at a step if asked to; on rank 0.

    `profile/memory-step-000000010.txt` in the run folder has the memory of the process and of the
    device, the sums for parameters, gradients, buffers and optimizer states, and the largest
    tensors that Python knows. What autograd keeps for a backward pass is no Python object and is
    missing there. On CUDA the history of allocations is recorded as well, and written beside it as
    `.pickle` for https://pytorch.org/memory_viz; recording slows each allocation a little.

    Args:
        at_step: Write after this step too; None: only when memory does not suffice.
        largest: How many tensors are listed.
        history: Allocations on CUDA that are kept; more need more memory of the host.
    """

    def __init__(
        self, at_step: Positive | None = None, largest: Positive = 20, history: Positive = 100_000
    ) -> None:
        self.at_step = at_step
        self.largest = largest
        self.history = history
        self._records = False

    @hookimpl
    def trainer_fit_start(self, state: RunState) -> None:
        """Begin to record on CUDA, and enter the step into the timetable."""
        if state.device.type == "cuda" and state.ranks.is_main:
            torch.cuda.memory._record_memory_history(max_entries=self.history)  # noqa: SLF001 - torch documents it under this name
            self._records = True
        wanted = self.at_step
        if wanted is not None:
            timetable = state.timetable
            timetable.at_steps(
                lambda step: wanted if step < wanted else _NEVER,
                lambda: self._write(state, f"after step {state.step}"),
                timetable.LATER,
            )

    @hookimpl
    def trainer_exception(self, state: RunState, exc: BaseException) -> None:
        """Write what is there when memory did not suffice."""
        if _is_about_memory(exc):
            self._write(state, f"after step {state.step}: {exc}")

    @hookimpl
    def trainer_fit_end(self) -> None:
        """Record no longer."""
        if self._records:
            torch.cuda.memory._record_memory_history(enabled=None)  # noqa: SLF001 - see above
            self._records = False

    def _write(self, state: RunState, occasion: str) -> None:
        if not state.ranks.is_main:
            return
        path = state.out_dir / "profile" / f"memory-step-{state.step:09d}.txt"
        try:
            make_folder(path.parent)
            write_atomically(path, "\n".join([occasion, "", *self._report(state)]) + "\n")
            if self._records:
                history = path.with_suffix(".pickle")
                with storage_errors(history):
                    torch.cuda.memory._dump_snapshot(str(history))  # type: ignore[no-untyped-call] # noqa: SLF001 - torch leaves it untyped
        except StorageError as exc:
            _log.warning("memory_snapshot: %s", exc)

    def _report(self, state: RunState) -> Iterator[str]:
        yield from _process_lines()
        if state.device.type == "cuda":
            yield from _device_lines(state.device)
        tensors = _live_tensors(state)
        yield ""
        for kind in dict.fromkeys(each.kind for each in tensors):
            total = sum(each.size for each in tensors if each.kind == kind)
            yield f"{total / _MIB:12.3f} MiB  {kind}"
        yield f"\nthe {self.largest} largest tensors"
        for each in sorted(tensors, key=lambda each: each.size, reverse=True)[: self.largest]:
            yield f"{each.size / _MIB:12.3f} MiB  {each.kind:<16} {each.words}"


class _Held(NamedTuple):
    kind: str
    size: int
    words: str


def _is_about_memory(exc: BaseException) -> bool:
    is_memory = isinstance(exc, (MemoryError, torch.OutOfMemoryError))
    return is_memory or (isinstance(exc, RuntimeError) and "allocate memory" in str(exc))


def _process_lines() -> Iterator[str]:
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    status = Path("/proc/self/statm")
    if status.is_file():
        now = int(status.read_text().split()[1]) * resource.getpagesize()
        yield f"{now / _MIB:12.3f} MiB  resident memory of the process"
    yield f"{peak / _MIB:12.3f} MiB  its peak"


def _device_lines(device: torch.device) -> Iterator[str]:
    for name in ("allocated", "reserved"):
        now = getattr(torch.cuda, f"memory_{name}")(device)
        peak = getattr(torch.cuda, f"max_memory_{name}")(device)
        yield f"{now / _MIB:12.3f} MiB  {name} on {device} (peak {peak / _MIB:.3f})"


class _Inventory:
    """The tensors that models, optimizers and Python hold, each storage once."""

    def __init__(self) -> None:
        self.found: list[_Held] = []
        self._seen: set[int] = set()

    def take(self, kind: str, name: str, tensor: object) -> None:
        """Add a tensor unless its storage is there already."""
        if not isinstance(tensor, Tensor):
            return
        try:
            storage = tensor.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes()
        except (NotImplementedError, RuntimeError):  # sparse, fake and functional tensors
            return
        if size and address not in self._seen:
            self._seen.add(address)
            dtype = str(tensor.dtype).removeprefix("torch.")
            words = f"{name} {dtype} {list(tensor.shape)} {tensor.device}".lstrip()
            self.found.append(_Held(kind, size, words))


def _live_tensors(state: RunState) -> list[_Held]:
    inventory = _Inventory()
    names: dict[int, str] = {}
    for component, module in state.models.items():
        for name, parameter in module.named_parameters():
            names[id(parameter)] = full_name = f"{component}/{name}"
            inventory.take("parameters", full_name, parameter)
            inventory.take("gradients", full_name, parameter.grad)
        for name, tensor in module.named_buffers():
            inventory.take("buffers", f"{component}/{name}", tensor)
    for optimizer in state.optimizers.values():
        for owner, values in optimizer.state.items():
            for key, value in values.items():
                name = f"{names.get(id(owner), '')} {key}"
                inventory.take("optimizer states", name, value)
    for entry in gc.get_objects():
        if issubclass(type(entry), Tensor):  # isinstance would ask proxies, which may raise
            inventory.take("other tensors", "", entry)
    return inventory.found
