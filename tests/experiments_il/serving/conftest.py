"""A server in a thread of its own, around a policy so small that it needs no torch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from experiments_il.serving.description import ObservationSpec, PolicyDescription
from experiments_il.serving.server import PolicyServer, ServerOptions
from experiments_il.serving.wire import pack, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

HORIZON, ACTION, STATE = 4, 2, 3


@dataclass
class CountingPolicy:
    """A chunk counts up from the sum of the newest state; a state of 13 is more than it bears.

    While `gate` is not set, it computes.
    """

    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def infer(self, observation: Mapping[str, NDArray[Any]], noise: NDArray[Any]) -> NDArray[Any]:
        state = observation["observation.state"]
        self.batches.append(len(state))
        assert self.gate.wait(30)
        if (state == 13).any():
            msg = "thirteen"
            raise ArithmeticError(msg)
        start = state[:, -1].sum(axis=1)[:, None, None] + 1000 * (len(state[0]) - 1)
        steps = np.arange(HORIZON)[None, :, None]
        return np.asarray(start + steps + np.zeros((1, 1, ACTION)), np.float32)


DESCRIPTION = PolicyDescription(
    {"observation.state": ObservationSpec((STATE,), "float32")},
    horizon=HORIZON,
    action_dim=ACTION,
    n_action_steps=2,
    noise_shape=(HORIZON, ACTION),
    fps=80.0,
    about={"name": "counting", "trainer": "t", "step": 7, "weights": "ema", "digest": "0" * 64},
)


@dataclass
class Running:
    """A server that runs.

    Attributes:
        port: Where it listens.
        server: It.
        policy: What it calls.
        stop: Ends it, and waits until it has; with `free=False` its policy computes on.
    """

    port: int
    server: PolicyServer
    policy: CountingPolicy
    stop: Callable[..., None]

    @contextmanager
    def connect(self) -> Iterator[ClientConnection]:
        """Open a connection, and take the first message."""
        address = f"ws://127.0.0.1:{self.port}"
        with connect(address, compression=None, open_timeout=20) as connection:
            assert unpack(bytes_of(connection))["name"] == "counting"
            yield connection


def bytes_of(connection: ClientConnection) -> bytes:
    """Return the next message, which is binary."""
    message = connection.recv(timeout=20)
    assert isinstance(message, bytes), message
    return message


def ask(connection: ClientConnection, observation: Any) -> Any:
    """Send an observation; return the message that comes back, or the text of an error."""
    connection.send(pack(observation))
    answer = connection.recv(timeout=20)
    return answer if isinstance(answer, str) else unpack(answer)


def state(value: float = 1.0) -> dict[str, NDArray[Any]]:
    """Return an observation."""
    return {"observation.state": np.full(STATE, value, np.float32)}


Serve = Callable[..., Running]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers; all of them are stopped at the end."""
    started: list[Running] = []

    def start(description: PolicyDescription = DESCRIPTION, **options: Any) -> Running:
        policy, listening = CountingPolicy(), threading.Event()
        found: dict[str, Any] = {}
        server = PolicyServer(policy, description, replace(ServerOptions(port=0), **options))

        async def run() -> None:
            stop = asyncio.Event()
            found["stop"] = (asyncio.get_running_loop(), stop)

            def ready(_host: str, port: int) -> None:
                found["port"] = port
                listening.set()

            await server.run(stop, ready)

        thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
        thread.start()
        assert listening.wait(20)

        def end(*, free: bool = True) -> None:
            if free:
                policy.gate.set()
            loop, stop = found["stop"]
            if thread.is_alive():
                loop.call_soon_threadsafe(stop.set)
            thread.join(20)
            assert not thread.is_alive()

        started.append(Running(found["port"], server, policy, end))
        return started[-1]

    yield start
    for running in started:
        running.stop()
