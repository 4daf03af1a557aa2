"""Observations of all clients that wait at the same time -> one call of the policy."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from experiments_il.serving.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Answer", "Backend", "Batcher", "OverloadError"]

_LOG = logging.getLogger(__name__)


class Backend(Protocol):
    """What computes chunks; called in one thread of its own."""

    def infer(self, observation: Mapping[str, NDArray[Any]], noise: NDArray[Any]) -> NDArray[Any]:
        """Return chunks `(B, H, A)`.

        Args:
            observation: Key to `(B, T, ...)`.
            noise: `(B, *noise_shape)`.
        """
        ...


class OverloadError(RuntimeError):
    """As many observations wait as may."""


@dataclass(frozen=True)
class Answer:
    """What became of an observation.

    Attributes:
        chunk: `(H, A)`.
        queue_ms: How long it waited.
        infer_ms: How long the policy took for its batch.
        batch: Observations of the batch.
    """

    chunk: NDArray[Any]
    queue_ms: float
    infer_ms: float
    batch: int


@dataclass
class _Request:
    observation: Mapping[str, NDArray[Any]]
    noise: NDArray[Any]
    answer: asyncio.Future[Answer]
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Collects what waits while the policy computes, and hands it over at once.

    Args:
        backend: What computes chunks.
        max_batch: Most observations of a call.
        max_waiting: Most observations that wait; further ones are refused.
    """

    def __init__(self, backend: Backend, max_batch: int = 32, max_waiting: int = 64) -> None:
        self._backend = backend
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[_Request] = deque()
        self._unanswered: set[asyncio.Future[Answer]] = set()
        self._arrived = asyncio.Event()
        self._worker = Worker()
        self._running: asyncio.Task[None] | None = None
        self.batches = 0

    async def __aenter__(self) -> Self:
        """Begin to answer."""
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop; what still waits is answered with an error."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self.abandon()
        self._worker.stop()

    def abandon(self) -> None:
        """Answer what waits, or is being computed, with an error."""
        for answer in list(self._unanswered):
            if not answer.done():
                answer.set_exception(OverloadError("the server stops"))

    @property
    def waiting(self) -> int:
        """Observations that wait for the policy."""
        return len(self._waiting)

    async def submit(self, observation: Mapping[str, NDArray[Any]], noise: NDArray[Any]) -> Answer:
        """Return the chunk of an observation, as soon as its batch has been computed.

        Args:
            observation: Key to `(T, ...)`.
            noise: `noise_shape`.

        Raises:
            OverloadError: Too many wait.
            Exception: What the policy raised on this observation alone.
        """
        if len(self._waiting) >= self._max_waiting:
            msg = f"the server is overloaded: {len(self._waiting)} observations wait; send it again"
            raise OverloadError(msg)
        request = _Request(observation, noise, asyncio.get_running_loop().create_future())
        self._unanswered.add(request.answer)
        request.answer.add_done_callback(self._unanswered.discard)
        self._waiting.append(request)
        self._arrived.set()
        return await request.answer

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if batch:
                await self._compute(batch)

    def _take(self) -> list[_Request]:
        """Return what waits, at most a batch of it, without those whose clients have gone."""
        batch: list[_Request] = []
        while self._waiting and len(batch) < self._max_batch:
            request = self._waiting.popleft()
            if not request.answer.done():
                batch.append(request)
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _compute(self, batch: list[_Request]) -> None:
        begin = time.perf_counter()
        self.batches += 1
        try:
            chunks = await self._infer(batch)
        except Exception as error:  # noqa: BLE001 - a policy may raise anything; it is answered
            await self._isolate(batch, error)
            return
        infer_ms = 1000 * (time.perf_counter() - begin)
        for request, chunk in zip(batch, chunks, strict=True):
            if not request.answer.done():
                queue_ms = 1000 * (begin - request.since)
                request.answer.set_result(Answer(chunk, queue_ms, infer_ms, len(batch)))

    async def _isolate(self, batch: list[_Request], error: Exception) -> None:
        """Find out whose observation the policy fails on: the others get their chunks."""
        if len(batch) > 1:
            for request in batch:
                await self._compute([request])
        elif not batch[0].answer.done():
            _LOG.error("the policy failed", exc_info=error)
            batch[0].answer.set_exception(error)

    async def _infer(self, batch: list[_Request]) -> NDArray[Any]:
        def compute() -> NDArray[Any]:
            keys = batch[0].observation
            together = {key: np.stack([each.observation[key] for each in batch]) for key in keys}
            return self._backend.infer(together, np.stack([each.noise for each in batch]))

        chunks: NDArray[Any] = await self._worker.call(compute)
        return chunks
