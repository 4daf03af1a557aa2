"""The cluster that a run starts for itself: out of reach, and gone when its driver is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
from tests.listening import LOOPBACK, addresses_of
from tests.trainer_ray.processes import LIMIT_S, wait_for

import trainer_core
from trainer_core.checkpoint.layout import list_steps

if TYPE_CHECKING:
    from pathlib import Path


def test_nobody_reaches_the_cluster_of_a_run_and_a_killed_driver_takes_it_along(
    experiment_alone: dict[str, Any], tmp_path: Path
) -> None:
    experiment_alone["runner"] |= {"num_workers": 1}
    experiment_alone["trainer"] |= {"max_steps": 1_000_000, "log_every_n_steps": 100_000}
    experiment_alone["callbacks"][0] |= {"every_n_steps": 50}
    config, root = tmp_path / "cfg.yaml", tmp_path / "run" / "checkpoints"
    config.write_text(json.dumps(experiment_alone))
    environment = dict(os.environ)
    del environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]
    command = [sys.executable, "-m", "trainer_core", "run", str(config)]
    with (tmp_path / "log.txt").open("wb") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        wait_for(lambda: list_steps(root) or driver.poll() is not None)
        ray = psutil.Process(driver.pid).children(recursive=True)
        listening = addresses_of(driver.pid)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait(LIMIT_S)
    assert {"gcs_server", "raylet"} <= set(listening), (tmp_path / "log.txt").read_text()
    assert set.union(*listening.values()) <= LOOPBACK
    assert not any("dashboard" in name.lower() for name in listening)
    wait_for(lambda: not any(_lives(process) for process in ray))
    newest = list_steps(root)[0][0]
    changes = [f"trainer.max_steps={newest + 5}", "run.allow=[schedule]"]
    result = trainer_core.run(config, changes, runner="local")
    assert (result.status, result.step) == ("completed", newest + 5)


def test_a_signal_while_the_cluster_starts_ends_the_run_as_ever(
    experiment_alone: dict[str, Any], tmp_path: Path
) -> None:
    config = tmp_path / "cfg.yaml"
    config.write_text(json.dumps(experiment_alone))
    command = [sys.executable, "-m", "trainer_core", "run", str(config)]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    process = psutil.Process(driver.pid)
    wait_for(lambda: "gcs_server" in [child.name() for child in process.children(recursive=True)])
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=LIMIT_S)
    assert driver.returncode == 75, said
    assert "interrupted by SIGTERM before the first step; the same command goes on" in said
    assert not (tmp_path / "run").exists()


def test_the_run_hears_its_driver_although_what_is_between_them_was_killed(
    experiment_alone: dict[str, Any], tmp_path: Path
) -> None:
    experiment_alone["runner"] |= {"num_workers": 1}
    experiment_alone["trainer"] |= {"max_steps": 1_000_000, "log_every_n_steps": 100}
    config, root, log = (
        tmp_path / "cfg.yaml",
        tmp_path / "run" / "checkpoints",
        tmp_path / "log.txt",
    )
    config.write_text(json.dumps(experiment_alone))
    with log.open("wb") as file:
        command = [sys.executable, "-m", "trainer_core", "run", str(config)]
        driver = subprocess.Popen(command, stdout=file, stderr=file)
    process = psutil.Process(driver.pid)
    try:
        wait_for(lambda: list_steps(root) or driver.poll() is not None)
        for child in process.children(recursive=True):
            if "ray::Mailbox" in " ".join(child.cmdline()):
                child.kill()
        shown = log.stat().st_size
        wait_for(lambda: log.stat().st_size > shown or driver.poll() is not None)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(LIMIT_S) == 75, log.read_text()
    finally:
        driver.kill()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("interrupted", list_steps(root)[0][0])


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
