"""The processes of a run, met through torch.distributed."""

from __future__ import annotations

import json
import logging
import time
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed as dist

from trainer_core.distributed.parallel import AveragedGradients, ParallelLosses, convert_batch_norm
from trainer_core.distributed.reports import PeerLostError, describe, echo, tell_by_main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from trainer_core.distributed.options import GroupOptions
    from trainer_core.distributed.place import Place
    from trainer_core.distributed.sharding import ShardedModels

__all__ = ["ProcessGroupRanks"]

Json = TypeVar("Json")
Losses = TypeVar("Losses")

_log = logging.getLogger(__name__)

_PATIENCE = timedelta(days=30)
_FRAME = 4096
_LENGTH = 8
_SHORTEST_NAP_S, _LONGEST_NAP_S = 0.0005, 0.02


class ProcessGroupRanks:
    """The ranks of a started process group.

    Decisions and metrics go over a gloo group of their own, so that they never wait for, or mix
    with, the gradients. What rank 0 does alone is waited for in a third group whose patience has
    no end; a rank that is gone ends the waiting at once.

    Args:
        place: Which rank this is.
        options: The runner's options.
        timeout_s: How long the others are waited for where all do the same.
        device_type: Where the models will be: `cpu` or `cuda`.
    """

    def __init__(
        self, place: Place, options: GroupOptions, timeout_s: float, device_type: str
    ) -> None:
        self.rank = place.rank
        self.local_rank = place.local_rank
        self.world_size = place.world_size
        self.is_main = place.rank == 0
        self.is_waiting = False
        self.timeout_s = timeout_s
        self._options = options
        self._device_type = device_type
        limit = timedelta(seconds=timeout_s)
        self._control = dist.new_group(backend="gloo", timeout=limit)
        self._patient = dist.new_group(backend="gloo", timeout=_PATIENCE)
        self._lately: tuple[Tensor, Any] | None = None
        self.is_sharded = options.strategy == "fsdp"
        self._sharded: ShardedModels | None = None
        self._losses: list[ParallelLosses[Any]] = []
        self._averaged: list[AveragedGradients] = []

    def barrier(self) -> None:
        """Wait until every process is here.

        Raises:
            PeerLostError: A process is gone, or did not come in time.
        """
        self.any(flag=False)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over the processes, on the device of the value."""
        total = value.detach().clone()
        with _peers():
            dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        flags = torch.tensor([int(flag)])
        with _peers():
            dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._control)
        return bool(flags.item())

    def any_lately(self, flag: bool) -> bool:
        """Return whether the flag was set in any process at the call before this one."""
        before = self._lately
        flags = torch.tensor([int(flag)])
        with _peers():
            work = dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._control, async_op=True)
            self._lately = (flags, work)
            if before is None:
                return False
            before[1].wait()
        return bool(before[0].item())

    def gather(self, value: Json) -> list[Json]:
        """Return everyone's value in the order of the ranks."""
        data = json.dumps(value, default=_to_json).encode()
        length = torch.tensor([len(data)])
        lengths = [torch.zeros_like(length) for _ in range(self.world_size)]
        with _peers():
            dist.all_gather(lengths, length, group=self._control)
            longest = int(max(lengths).item())
            parts = [torch.zeros(longest, dtype=torch.uint8) for _ in lengths]
            dist.all_gather(parts, _to_bytes(data, longest), group=self._control)
        return [
            json.loads(part[: int(size)].numpy().tobytes())
            for part, size in zip(parts, lengths, strict=True)
        ]

    def on_main(self, action: Callable[[], Json]) -> Json:
        """Run an action on rank 0 and return its result on every rank, or raise its error."""
        if not self.is_main:
            answer = json.loads(self._wait_for_main())
            if "error" in answer:
                raise tell_by_main(echo(answer["error"]))
            result: Json = answer["result"]
            return result
        try:
            result = action()
        except Exception as error:
            self._tell({"error": describe(error)})
            raise
        self._tell({"result": result})
        return result

    def prepare(self, models: nn.ModuleDict) -> nn.ModuleDict:
        """Let batch norm see the samples of all ranks, if the options say so."""
        if self._options.sync_batch_norm and self.world_size > 1:
            convert_batch_norm(models, self._device_type)
        return models

    def shard(self, models: nn.ModuleDict) -> None:
        """Leave each process a part of the trained components, with `strategy: fsdp`."""
        if self.is_sharded:
            from trainer_core.distributed.sharding import ShardedModels  # noqa: PLC0415 - a second of imports

            self._sharded = ShardedModels(models, self._options, self._device_type)

    def whole(self) -> AbstractContextManager[object]:
        """Return a context in which every process has the whole weights."""
        return nullcontext() if self._sharded is None else self._sharded.whole()

    def parallelize(
        self, models: nn.ModuleDict, losses: Callable[..., Losses]
    ) -> Callable[..., Losses]:
        """Return the losses such that their gradients are averaged; see `start`."""
        if self.world_size == 1:
            return losses
        if self._sharded is not None:
            return self._sharded.parallelize(models, losses)
        parallel = ParallelLosses(models, losses)
        self._losses.append(parallel)
        return parallel

    def average_gradients(self, models: nn.ModuleDict) -> None:
        """Average the gradients at the end of each backward pass, whoever calls it; see `start`."""
        if self._sharded is not None:
            self._sharded.refuse_own_step()
        if self.world_size > 1:
            self._averaged.append(AveragedGradients(models))

    def accumulate(self) -> ExitStack:
        """Return a context in which gradients stay with their process."""
        stack = ExitStack()
        if self._sharded is not None:
            stack.enter_context(self._sharded.accumulate())
        for parallel in self._losses:
            stack.enter_context(parallel.no_sync())
        return stack

    def start(self) -> None:
        """Begin to average gradients: every rank has built the same and is here."""
        for parallel in self._losses:
            with _peers():
                parallel.start(self._options)
        for averaged in self._averaged:
            averaged.start()

    def _tell(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer, default=_to_json).encode()
        head = len(data).to_bytes(_LENGTH, "big") + data
        with _peers():
            dist.broadcast(_to_bytes(head[:_FRAME], _FRAME), 0, group=self._patient)
            if len(head) > _FRAME:
                rest = head[_FRAME:]
                dist.broadcast(_to_bytes(rest, len(rest)), 0, group=self._patient)

    def _wait_for_main(self) -> bytes:
        head = self._receive(_FRAME)
        size = int.from_bytes(head[:_LENGTH], "big")
        data = head[_LENGTH:]
        if size > len(data):
            data += self._receive(size - len(data))
        return data[:size]

    def _receive(self, size: int) -> bytes:
        """Wait for bytes of rank 0, awake enough to hear signals."""
        buffer = torch.zeros(size, dtype=torch.uint8)
        self.is_waiting = True
        try:
            with _peers():
                work = dist.broadcast(buffer, 0, group=self._patient, async_op=True)
                nap = _SHORTEST_NAP_S
                while not work.is_completed():
                    time.sleep(nap)
                    nap = min(2 * nap, _LONGEST_NAP_S)
                work.wait()
        finally:
            self.is_waiting = False
        return buffer.numpy().tobytes()


@contextmanager
def _peers() -> Iterator[None]:
    """Tell a rank that is gone from an error of this one."""
    try:
        yield
    except RuntimeError as exc:
        reason = str(exc).strip().splitlines()
        msg = f"the other ranks cannot be reached: {reason[0] if reason else type(exc).__name__}"
        raise PeerLostError(msg) from exc


def _to_bytes(data: bytes, size: int) -> Tensor:
    return torch.frombuffer(bytearray(data.ljust(size, b"\0")), dtype=torch.uint8)


def _to_json(value: Any) -> Any:
    """Return a number of numpy or torch as one of Python; anything else as text."""
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) != 0 else str(value)
