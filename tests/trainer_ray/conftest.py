"""One Ray cluster for all tests, whichever process of pytest they run in."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainer_ray.cluster import import_ray

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 120

# Ray reads it when it is imported; all processes of pytest have to have the same.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", secrets.token_hex(16))
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = hashlib.sha256(_RUN.encode()).hexdigest()
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # clusters of tests stay on loopback
os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # a process less in every run


@contextmanager
def _shared(folder: Path) -> Iterator[dict[str, Any]]:
    """Give what all processes of pytest know about the cluster; one at a time."""
    with (folder / "ray.lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = json.loads(file.read() or '{"users": 0}')
        yield known
        file.seek(0)
        file.truncate()
        file.write(json.dumps(known))


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
    return port


def _start(folder: Path) -> dict[str, Any]:
    port = _free_port()
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--num-cpus=8"]
    command += ["--include-dashboard=false", "--node-ip-address=127.0.0.1", f"--port={port}"]
    with (folder / "ray.txt").open("wb") as log:
        started = subprocess.Popen(
            [*command, "--block"],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + LIMIT_S
    while b"runtime started" not in (folder / "ray.txt").read_bytes():
        assert started.poll() is None, (folder / "ray.txt").read_text()
        assert time.monotonic() < deadline, (folder / "ray.txt").read_text()
        time.sleep(0.1)
    started.returncode = 0  # another process may be the one that ends it
    return {"address": f"127.0.0.1:{port}", "pid": started.pid}


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running cluster with 8 logical CPUs."""
    ray = import_ray()
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with _shared(folder) as known:
        is_first = not known["users"]
        if is_first:
            known.update(_start(folder))
        found: str = known["address"]
        try:
            ray.init(found, namespace="trainer", log_to_driver=False, logging_level="ERROR")
        except BaseException:
            if is_first:
                os.killpg(known["pid"], 9)
            raise
        ray.shutdown()
        known["users"] += 1
    yield found
    with _shared(folder) as known:
        known["users"] -= 1
        if not known["users"]:
            os.killpg(known["pid"], 9)


@pytest.fixture
def experiment(experiment_alone: dict[str, Any], address: str) -> dict[str, Any]:
    """The same in a cluster that runs."""
    experiment_alone["runner"]["address"] = address
    return experiment_alone


@pytest.fixture
def experiment_alone(dropout_experiment: dict[str, Any]) -> dict[str, Any]:
    """The same in two workers, who print."""
    runner = {"_type_": "ray", "num_workers": 2, "timeout_s": 30}
    loggers = [{"_type_": "stdout"}, *dropout_experiment["loggers"]]
    return {**dropout_experiment, "runner": runner, "loggers": loggers}
