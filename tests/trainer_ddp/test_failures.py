"""Ranks that die, fail or are told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import trainer_core
from policy_constructor.errors import ConfigError
from trainer_core.errors import TrainerError, UserError

pytestmark = pytest.mark.timeout(120)


def start(experiment: dict[str, Any], tmp_path: Path, *changes: str) -> subprocess.Popen[str]:
    """Start a run that is long enough to be disturbed, and wait until it logs."""
    file = tmp_path / "exp.yaml"
    file.write_text(json.dumps(experiment))
    command = [sys.executable, "-m", "trainer_core.cli", "run", str(file), *changes]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_lines(tmp_path, 2, process)
    return process


def wait_for_lines(tmp_path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    log = tmp_path / "run" / "metrics.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_killed_rank_comes_back_and_nothing_is_lost(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    experiment["runner"]["max_restarts"] = 1
    experiment["callbacks"][0]["every_n_steps"] = 50
    process = start(experiment, tmp_path, "trainer.max_steps=600", "trainer.log_every_n_steps=50")
    (agent,) = children(process.pid)
    os.kill(children(agent)[1], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "completed after 600 steps" in out
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(50, 601, 50))


def test_stop_signal_saves_on_all_ranks(experiment: dict[str, Any], tmp_path: Path) -> None:
    process = start(experiment, tmp_path, "trainer.max_steps=100000")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert (tmp_path / f"run/checkpoints/step-{summary['step']:09d}").is_dir()
    assert "the state is saved" in out


@pytest.mark.slow
def test_killed_rank_without_restarts_is_named(experiment: dict[str, Any], tmp_path: Path) -> None:
    process = start(experiment, tmp_path, "trainer.max_steps=100000")
    (agent,) = children(process.pid)
    os.kill(children(agent)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "error: rank 1: the process was killed by SIGKILL\n"
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["error"] == "rank 1: the process was killed by SIGKILL"


def test_error_of_one_rank_is_named_with_its_last_lines(
    experiment: dict[str, Any], rank_parts: None
) -> None:
    experiment["trainer"]["_type_"] = "failing"
    with pytest.raises(TrainerError) as caught:
        trainer_core.run(experiment | {"io": None, "loss": None})
    message = str(caught.value)
    assert message.startswith("rank 1: ZeroDivisionError: a bug on rank 1\n")
    assert "in compute_losses" in message


def test_rank_that_cannot_build_stops_the_others(
    experiment: dict[str, Any], rank_parts: None, tmp_path: Path
) -> None:
    experiment["data"]["_type_"] = "missing_on_rank_1"
    experiment["runner"]["max_restarts"] = 3
    with pytest.raises(UserError) as caught:
        trainer_core.run(experiment)
    assert str(caught.value) == "rank 1: the disk of this machine has no data"
    assert not (tmp_path / "run").exists()


def test_batch_that_cannot_be_cut_is_said_once(experiment: dict[str, Any]) -> None:
    experiment["data"]["batch_size"] = 25
    with pytest.raises(ConfigError) as caught:
        trainer_core.run(experiment)
    assert "a batch of 25 cannot be cut into 2 ranks" in str(caught.value)
    assert "24 or 26 can" in str(caught.value)
    assert "rank 1" not in str(caught.value)


@pytest.mark.slow
def test_nccl_without_cuda_is_refused(experiment: dict[str, Any]) -> None:
    experiment["runner"]["backend"] = "nccl"
    with pytest.raises(UserError) as caught:
        trainer_core.run(experiment)
    assert str(caught.value) == (
        "runner ddp: backend nccl needs CUDA devices, this run is on 'cpu'; use backend: gloo, "
        "or auto"
    )
