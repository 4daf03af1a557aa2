"""The server in openpi's protocol: one client's mistake is that client's alone."""

from __future__ import annotations

import pickle
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.experiments_il.serving.conftest import (
    DESCRIPTION,
    STATE,
    Serve,
    ask,
    bytes_of,
    state,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from experiments_il.serving.wire import pack, unpack

if TYPE_CHECKING:
    from tests.experiments_il.serving.conftest import Running
    from websockets.sync.client import ClientConnection


def get(running: Running, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}{path}", timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def wait_until(condition: Any) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def closed_with(connection: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as error:
        connection.recv(timeout=20)
    assert error.value.rcvd is not None
    return error.value.rcvd.code, error.value.rcvd.reason


def test_first_message_tells_what_the_policy_reads(serve: Serve) -> None:
    address = f"ws://127.0.0.1:{serve().port}"
    with connect(address, compression=None) as connection:
        assert unpack(bytes_of(connection)) == {
            "server": "experiments-il",
            "protocol": 1,
            "name": "counting",
            "trainer": "t",
            "step": 7,
            "weights": "ema",
            "digest": "0" * 64,
            "observation": {"observation.state": {"shape": [STATE], "dtype": "float32"}},
            "ignored_keys": ["prompt"],
            "n_obs_steps": 1,
            "action_horizon": 4,
            "action_dim": 2,
            "n_action_steps": 2,
            "action_offset": 0,
            "fps": 80.0,
        }


def test_observation_is_answered_with_a_chunk(serve: Serve) -> None:
    with serve().connect() as connection:
        first, second = ask(connection, state(1)), ask(connection, state(2))
    assert first["actions"].tolist() == [[3, 3], [4, 4], [5, 5], [6, 6]]
    assert set(first["server_timing"]) == {"infer_ms", "queue_ms", "batch_size"}
    assert second["server_timing"]["prev_total_ms"] > 0


def test_actions_before_the_current_frame_are_not_sent(serve: Serve) -> None:
    description = replace(DESCRIPTION, action_offset=-1)
    with serve(description).connect() as connection:
        assert ask(connection, state(1))["actions"][:, 0].tolist() == [4, 5, 6]


def test_history_is_kept_until_it_is_reset(serve: Serve) -> None:
    description = replace(DESCRIPTION, n_obs_steps=2)
    running = serve(description)
    with running.connect() as connection:
        assert ask(connection, state(1))["actions"][0, 0] == 1003
        assert ask(connection, {"reset": True})["reset"] is True
        assert ask(connection, state(2) | {"reset": True})["actions"][0, 0] == 1006


@pytest.mark.parametrize(
    ("observation", "text"),
    [
        ({}, "ObservationError: the observation has no observation.state; it has nothing"),
        (
            {"observation.state": np.zeros(4)},
            "ObservationError: observation.state has the shape (4,), expected (3,)",
        ),
        (
            {"observation.state": np.full(3, np.nan)},
            (
                "ObservationError: observation.state has 3 values that are not finite, "
                "the first at [0]"
            ),
        ),
        (state(13), "the policy failed: ArithmeticError: thirteen"),
    ],
    ids=["missing", "shape", "nan", "policy"],
)
def test_mistake_is_answered_and_the_connection_goes_on(
    serve: Serve, observation: Any, text: str
) -> None:
    with serve().connect() as connection:
        assert ask(connection, observation) == text
        assert ask(connection, state(1))["actions"][0, 0] == 3


@pytest.mark.parametrize(
    "garbage",
    [b"\xc1\xff\x00garbage", b"", pickle.dumps({"observation.state": [1]}), "text", b"\x91" * 9999],
    ids=["garbage", "empty", "pickle", "text", "nested"],
)
def test_garbage_closes_its_connection_alone(serve: Serve, garbage: bytes | str) -> None:
    running = serve()
    with running.connect() as other, running.connect() as connection:
        connection.send(garbage)
        answer = connection.recv(timeout=20)
        assert isinstance(answer, str)
        assert answer.startswith("WireError: ")
        assert closed_with(connection) == (1007, "the message cannot be read")
        assert ask(other, state(1))["actions"][0, 0] == 3


def test_message_above_the_limit_closes_its_connection_alone(serve: Serve) -> None:
    running = serve(max_message_bytes=2000)
    with running.connect() as other, running.connect() as connection:
        connection.send(bytes(3000))
        code, reason = closed_with(connection)
        assert code == 1009
        assert "2000" in reason
        assert ask(other, state(1))["actions"][0, 0] == 3


def test_clients_that_wait_at_the_same_time_share_a_batch(serve: Serve) -> None:
    running = serve()
    with ExitStack() as stack:
        connections = [stack.enter_context(running.connect()) for _ in range(4)]
        running.policy.gate.clear()
        connections[0].send(pack(state(0)))
        wait_until(lambda: running.policy.batches == [1])
        for number, connection in enumerate(connections[1:], start=1):
            connection.send(pack(state(number)))
        wait_until(lambda: running.server.waiting == 3)
        running.policy.gate.set()
        answers = [unpack(bytes_of(connection)) for connection in connections]
    assert [answer["actions"][0, 0] for answer in answers] == [0, 3, 6, 9]
    assert running.policy.batches == [1, 3]


def test_failure_in_a_batch_is_of_its_own_observation(serve: Serve) -> None:
    running = serve()
    with running.connect() as busy, running.connect() as bad, running.connect() as good:
        running.policy.gate.clear()
        busy.send(pack(state(0)))
        wait_until(lambda: running.policy.batches == [1])
        bad.send(pack(state(13)))
        good.send(pack(state(1)))
        wait_until(lambda: running.server.waiting == 2)
        running.policy.gate.set()
        assert bad.recv(timeout=20) == "the policy failed: ArithmeticError: thirteen"
        assert unpack(bytes_of(good))["actions"][0, 0] == 3


def test_overload_is_said_and_passes(serve: Serve) -> None:
    running = serve(max_waiting=1)
    with running.connect() as busy, running.connect() as waiting, running.connect() as refused:
        running.policy.gate.clear()
        busy.send(pack(state(0)))
        wait_until(lambda: running.policy.batches == [1])
        waiting.send(pack(state(1)))
        wait_until(lambda: running.server.waiting == 1)
        assert ask(refused, state(2)) == (
            "OverloadError: the server is overloaded: 1 observations wait; send it again"
        )
        running.policy.gate.set()
        assert unpack(bytes_of(waiting))["actions"][0, 0] == 3
        assert ask(refused, state(2))["actions"][0, 0] == 6


def test_client_that_goes_while_it_waits_costs_nothing(serve: Serve) -> None:
    running = serve()
    with running.connect() as busy:
        running.policy.gate.clear()
        busy.send(pack(state(0)))
        wait_until(lambda: running.policy.batches == [1])
        with running.connect() as gone:
            gone.send(pack(state(1)))
            wait_until(lambda: running.server.waiting == 1)
            gone.socket.shutdown(socket.SHUT_RDWR)
        running.policy.gate.set()
        assert unpack(bytes_of(busy))["actions"][0, 0] == 0
        assert ask(busy, state(1))["actions"][0, 0] == 3


def test_half_open_connection_is_cut_off(serve: Serve) -> None:
    running = serve(ping_s=0.1)
    request = (
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", running.port), 20) as silent:
        silent.sendall(request.encode())
        wait_until(lambda: running.server.statistics.clients == 1)
        wait_until(lambda: running.server.statistics.clients == 0)


def test_slow_reader_is_cut_off_and_others_are_served(serve: Serve) -> None:
    wide = replace(DESCRIPTION, about=DESCRIPTION.about | {"name": "x" * 30_000_000})
    running = serve(wide, send_timeout_s=0.2)
    request = (
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", running.port), 20) as slow:
        slow.sendall(request.encode())
        wait_until(lambda: running.server.statistics.clients == 1)
        wait_until(lambda: running.server.statistics.clients == 0)
    assert get(running, "/healthz") == "OK\n"


def test_more_clients_than_allowed_are_refused(serve: Serve) -> None:
    running = serve(max_clients=1)
    with running.connect(), pytest.raises(InvalidStatus) as error:
        connect(f"ws://127.0.0.1:{running.port}").__enter__()
    assert error.value.response.status_code == 503
    assert error.value.response.body == b"1 clients are connected, as many as may be\n"


def test_page_of_a_browser_is_refused(serve: Serve) -> None:
    with pytest.raises(InvalidStatus) as error:
        connect(f"ws://127.0.0.1:{serve().port}", origin=Origin("http://evil.example")).__enter__()
    assert error.value.response.status_code == 403


def test_health_and_metrics_are_pages(serve: Serve) -> None:
    running = serve()
    with running.connect() as connection:
        ask(connection, state(1))
        ask(connection, {})
    wait_until(lambda: running.server.statistics.clients == 0)
    assert get(running, "/healthz") == "OK\n"
    lines = get(running, "/metrics").splitlines()
    assert lines[:6] == [
        "trainer_serve_answered_total 1",
        "trainer_serve_refused_total 1",
        "trainer_serve_overloaded_total 0",
        "trainer_serve_failed_total 0",
        "trainer_serve_batches_total 1",
        "trainer_serve_clients 0",
    ]
    assert lines[6].startswith('trainer_serve_total_ms{quantile="0.5"} ')


def test_stopping_answers_what_is_in_flight(serve: Serve) -> None:
    running = serve()
    with running.connect() as connection, ThreadPoolExecutor(1) as pool:
        running.policy.gate.clear()
        connection.send(pack(state(1)))
        wait_until(lambda: running.policy.batches == [1])
        stopped = pool.submit(running.stop)
        assert unpack(bytes_of(connection))["actions"][0, 0] == 3
        assert closed_with(connection) == (1001, "the server stops")
        stopped.result(20)


def test_policy_that_never_answers_does_not_keep_the_server(serve: Serve) -> None:
    running = serve(grace_s=0.1)
    with running.connect() as connection:
        running.policy.gate.clear()
        connection.send(pack(state(1)))
        wait_until(lambda: running.policy.batches == [1])
        running.stop(free=False)
        assert closed_with(connection) == (1001, "the server stops")


def test_noise_depends_on_connection_and_plan_alone(serve: Serve) -> None:
    drawn: list[Any] = []
    for _ in range(2):
        running = serve()
        infer = running.policy.infer

        def spy(observation: Any, noise: Any, infer: Any = infer) -> Any:
            drawn.append(noise)
            return infer(observation, noise)

        running.policy.infer = spy  # type: ignore[method-assign] # a look at what comes in
        with running.connect() as connection:
            ask(connection, state(1))
            ask(connection, state(1))
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[1])
