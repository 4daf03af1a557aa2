"""The server: openpi's protocol over websockets, for several clients at once."""

from __future__ import annotations

import asyncio
import contextlib
import http
import itertools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from experiments_il.serving.batching import Batcher
from experiments_il.serving.latency import ServerStatistics
from experiments_il.serving.session import Session
from experiments_il.serving.wire import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from experiments_il.serving.batching import Backend
    from experiments_il.serving.description import PolicyDescription

__all__ = ["PolicyServer", "ServerOptions"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens, and its limits.

    Attributes:
        host: Address of the interface.
        port: 0: any that is free.
        max_batch: Most observations of one call of the policy.
        max_waiting: Most observations that wait; further ones are refused.
        max_clients: Most connections; further ones are refused with status 503.
        max_message_bytes: Larger messages close their connection (code 1009).
        send_timeout_s: How long a client may take to read an answer before it is cut off.
        grace_s: How long what is in flight may take when the server stops.
        ping_s: Seconds between pings; a client that does not answer within as many is cut off.
        seed: Of the policy's noise.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 32
    max_waiting: int = 64
    max_clients: int = 64
    max_message_bytes: int = 32 * 2**20
    send_timeout_s: float = 10.0
    grace_s: float = 5.0
    ping_s: float = 20.0
    seed: int = 0


class PolicyServer:
    """Serves one policy.

    Args:
        backend: What computes chunks.
        description: What clients are told of it.
        options: Where to listen, and limits.

    Attributes:
        statistics: Counts and latencies.
    """

    def __init__(
        self, backend: Backend, description: PolicyDescription, options: ServerOptions
    ) -> None:
        self._backend = backend
        self._description = description
        self._options = options
        self._metadata = pack(description.metadata())
        self._numbers = itertools.count()
        self._connections: set[ServerConnection] = set()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_stopping = False
        self._batcher: Batcher | None = None
        self.statistics = ServerStatistics()

    @property
    def waiting(self) -> int:
        """Observations that wait for the policy."""
        return 0 if self._batcher is None else self._batcher.waiting

    async def run(self, stop: asyncio.Event, ready: Callable[[str, int], None]) -> None:
        """Serve until `stop` is set; then answer what is in flight and close.

        Args:
            stop: Set by a signal.
            ready: Called with host and port once clients can connect.

        Raises:
            OSError: The address cannot be used.
        """
        options = self._options
        async with Batcher(self._backend, options.max_batch, options.max_waiting) as batcher:
            self._batcher = batcher

            async def handle(connection: ServerConnection) -> None:
                await self._handle(connection, batcher)

            server = await serve(
                handle,
                options.host,
                options.port,
                process_request=self._answer_http,
                origins=[None],  # a web page of a browser on this machine is no client
                compression=None,
                ping_interval=options.ping_s,
                ping_timeout=options.ping_s,
                close_timeout=1,
                max_size=options.max_message_bytes,
                max_queue=1,
            )
            host, port = server.sockets[0].getsockname()[:2]
            ready(host, port)
            await stop.wait()
            self._is_stopping = True
            server.close(close_connections=False)
            await self._finish()
            batcher.abandon()  # of a policy that takes longer than the time of grace
            await server.wait_closed()
            self.statistics.batches = batcher.batches

    async def _finish(self) -> None:
        """Let what is in flight be answered, then close every connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.grace_s):
                await self._idle.wait()
        closing = [
            connection.close(CloseCode.GOING_AWAY, "the server stops")
            for connection in self._connections
        ]
        await asyncio.gather(*closing, return_exceptions=True)

    def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer /healthz and /metrics; None goes on to the websocket."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if request.path == "/metrics":
            return connection.respond(http.HTTPStatus.OK, self.statistics.to_metrics())
        if len(self._connections) >= self._options.max_clients:
            text = f"{len(self._connections)} clients are connected, as many as may be\n"
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, text)
        return None

    async def _handle(self, connection: ServerConnection, batcher: Batcher) -> None:
        """Answer one client until it goes, whatever it sends."""
        self._connections.add(connection)
        self.statistics.clients += 1
        seed = (self._options.seed, next(self._numbers))
        session = Session(
            self._description, batcher, self.statistics, lambda: self._is_stopping, seed
        )
        try:
            await self._send(connection, self._metadata)
            async for message in connection:
                with self._busy():
                    await self._answer(connection, session, message)
                self.statistics.batches = batcher.batches
        except ConnectionClosed:
            pass
        finally:
            self._connections.discard(connection)
            self.statistics.clients -= 1

    async def _answer(
        self, connection: ServerConnection, session: Session, message: bytes | str
    ) -> None:
        since = time.perf_counter()
        reply = await session.reply(message)
        await self._send(connection, reply.content)
        session.sent(reply, since)
        if reply.is_last:
            await connection.close(CloseCode.INVALID_DATA, "the message cannot be read")

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """Note that a message is in flight."""
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def _send(self, connection: ServerConnection, message: bytes | str) -> None:
        """Send, or cut off a client that does not read."""
        try:
            async with asyncio.timeout(self._options.send_timeout_s):
                await connection.send(message)
        except TimeoutError:
            _LOG.warning("%s does not read its answers: cut off", connection.remote_address)
            connection.transport.abort()
