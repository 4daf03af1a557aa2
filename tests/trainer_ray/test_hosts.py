"""Two machines with networks and disks of their own, one of which loses its cable."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.hosts import two_hosts
from tests.trainer_ray.processes import LIMIT_S, wait_for

from trainer_core.checkpoint.layout import list_steps

if TYPE_CHECKING:
    import subprocess

    from tests.hosts import Host

RAY = str(Path(sys.executable).with_name("ray"))
HEALTH = {
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
SEVERAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}


def _start_ray(host: Host, log: Path, *more: str) -> subprocess.Popen[bytes]:
    own = [f"--node-ip-address={host.address}", "--num-cpus=2", "--block"]
    return host.start(RAY, "start", *own, *more, log=log, **SEVERAL)


@pytest.mark.slow
def test_a_run_goes_on_without_a_machine_that_is_cut_off(
    experiment_alone: dict[str, Any], tmp_path: Path
) -> None:
    experiment_alone["runner"] |= {"address": "10.77.0.1:6379", "placement": "SPREAD"}
    experiment_alone["runner"] |= {"max_failures": 1, "storage": str(tmp_path / "storage")}
    experiment_alone["trainer"] |= {"max_steps": 1_000_000, "log_every_n_steps": 1000}
    experiment_alone["callbacks"][0] |= {"every_n_steps": 100, "keep_last": 100_000}
    experiment_alone["run"]["out_dir"] = "/tmp/ray/run"  # each machine has its own
    config, log = tmp_path / "cfg.json", tmp_path / "log.txt"
    config.write_text(json.dumps(experiment_alone))
    root = tmp_path / "storage" / "checkpoints"
    with two_hosts(tmp_path) as (first, second):
        head = ("--head", "--include-dashboard=false", f"--system-config={json.dumps(HEALTH)}")
        _start_ray(first, log, *head)
        wait_for(lambda: log.exists() and b"runtime started" in log.read_bytes())
        _start_ray(second, log, "--address=10.77.0.1:6379")
        wait_for(lambda: log.read_bytes().count(b"runtime started") == 2)
        command = [sys.executable, "-m", "trainer_core", "run", str(config)]
        run = first.start(*command, log=log, **SEVERAL)
        wait_for(lambda: len(list_steps(root)) >= 2 or run.poll() is not None)
        assert _workers_of(second), log.read_text()
        second.plug(is_in=False)
        committed = {step for step, _ in list_steps(root)}
        wait_for(lambda: run.poll() is not None or list_steps(root)[0][0] > max(committed) + 200)
        psutil.Process(run.pid).children()[0].send_signal(signal.SIGINT)  # run is but the door
        assert run.wait(LIMIT_S) == 75, log.read_text()
    assert {step for step, _ in list_steps(root)} >= committed


def _workers_of(host: Host) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_there = Path(f"/proc/{process.pid}/ns/net").samefile(f"/proc/{host.pid}/ns/net")
            if is_there and "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found
