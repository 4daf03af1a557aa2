"""Nobody else reaches the processes of a run on one machine."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.listening import LOOPBACK, addresses_of

from trainer_core.distributed.addresses import (
    address_to_listen_at,
    address_towards,
    interface_of,
    is_here,
)

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 120


@pytest.fixture
def endpoint() -> str:
    """A place on this machine for launchers to meet."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{opened.getsockname()[1]}"


@pytest.mark.parametrize("launchers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_nobody_reaches_a_run_on_one_machine(
    experiment: dict[str, Any], endpoint: str, tmp_path: Path, launchers: int
) -> None:
    if launchers > 1:
        own = {"nproc_per_node": 1, "nnodes": launchers, "rdzv_endpoint": endpoint}
        experiment["runner"] |= own
    experiment["trainer"] |= {"max_steps": 1_000_000, "log_every_n_steps": 100_000}
    config = tmp_path / "cfg.yaml"
    config.write_text(json.dumps(experiment))
    command = [sys.executable, "-m", "trainer_core", "run", str(config)]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(launchers)]
    try:
        deadline = time.monotonic() + LIMIT_S
        while not list(tmp_path.glob("run/checkpoints/step-*")):
            assert time.monotonic() < deadline
            assert all(run.poll() is None for run in runs)
            time.sleep(0.05)
        found = [addresses_of(run.pid) for run in runs]
        runs[0].send_signal(signal.SIGINT)
        assert [run.wait(LIMIT_S) for run in runs] == [75] * launchers
    finally:
        for run in runs:
            run.kill()
    assert all(found)
    assert set.union(*(each for one in found for each in one.values())) <= LOOPBACK


def test_this_machine_is_found_under_its_names_only() -> None:
    assert address_to_listen_at("localhost") in LOOPBACK
    assert address_to_listen_at("127.0.0.1") == "127.0.0.1"
    assert address_to_listen_at("192.0.2.7") is None  # of nobody
    assert not is_here("192.0.2.7")


def test_a_name_that_is_loopback_for_its_machine_alone_is_not_enough_to_listen_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("127.0.1.1", 0))])
    assert is_here("node0")
    assert address_to_listen_at("node0") is None


def test_no_other_machine_is_reached_by_way_of_loopback() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.7") is None
    assert address_towards("127.0.0.1") not in LOOPBACK
