"""Ranks that die, fail or are told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.errors import ConfigError
from trainer_core.errors import TrainerError, UserError

if TYPE_CHECKING:
    from tests.trainer_ddp.conftest import Agent

pytestmark = pytest.mark.timeout(120)


def start(experiment: dict[str, Any], tmp_path: Path, *changes: str) -> subprocess.Popen[str]:
    """Start a run that is long enough to be disturbed, and wait until it logs."""
    file = tmp_path / "exp.yaml"
    file.write_text(json.dumps(experiment))
    command = [sys.executable, "-m", "trainer_core.cli", "run", str(file), *changes]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_lines(tmp_path, 2, process)
    return process


def logged_steps(tmp_path: Path) -> list[int]:
    log = tmp_path / "run" / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line)["step"] for line in lines]


def wait_for_lines(tmp_path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(logged_steps(tmp_path)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_killed_rank_comes_back_and_all_save_when_told_to_stop(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    experiment["runner"]["max_restarts"] = 1
    experiment["callbacks"][0]["every_n_steps"] = 50
    process = start(experiment, tmp_path, "trainer.max_steps=100000", "trainer.log_every_n_steps=5")
    (agent,) = children(process.pid)
    killed = children(agent)[1]
    os.kill(killed, signal.SIGKILL)
    wait_until_gone([killed])
    wait_for_lines(tmp_path, len(logged_steps(tmp_path)) + 20, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    said = "rank 1: the process was killed by SIGKILL; all start again, restart 1 of 1\n"
    assert (process.returncode, err) == (75, said)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert (tmp_path / f"run/checkpoints/step-{summary['step']:09d}").is_dir()
    assert out.endswith(
        f"interrupted after {summary['step']} steps, {summary['wall_s']:.0f} s\n"
        f"the state is saved; the same command goes on\nsee {tmp_path / 'run' / 'report.html'}\n"
    )
    steps = logged_steps(tmp_path)
    assert steps == list(range(5, 5 * len(steps) + 1, 5))


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


@pytest.mark.slow
@pytest.mark.parametrize("who", ["launcher", "agent"])
def test_ranks_save_and_leave_when_nobody_watches_them(
    experiment: dict[str, Any], tmp_path: Path, who: str
) -> None:
    process = start(experiment, tmp_path, "trainer.max_steps=100000")
    (agent,) = children(process.pid)
    ranks = children(agent)
    os.kill(process.pid if who == "launcher" else agent, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    wait_until_gone([agent, *ranks])
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["step"] >= logged_steps(tmp_path)[-1]
    assert (tmp_path / f"run/checkpoints/step-{summary['step']:09d}").is_dir()
    if who == "agent":
        assert err == "error: the process that watches the ranks ended with signal 9\n"


@pytest.mark.usefixtures("rank_parts")
def test_error_of_one_rank_is_named_with_its_last_lines(
    experiment: dict[str, Any], agent: Agent
) -> None:
    experiment["trainer"]["_type_"] = "failing"
    with pytest.raises(TrainerError) as caught:
        agent.run(experiment | {"io": None, "loss": None})
    message = str(caught.value)
    assert message.startswith("rank 1: ZeroDivisionError: a bug on rank 1\n")
    assert "in compute_losses" in message


@pytest.mark.slow
@pytest.mark.usefixtures("rank_parts")
def test_unexpected_error_is_tried_again_as_often_as_allowed(
    experiment: dict[str, Any], agent: Agent
) -> None:
    experiment["trainer"]["_type_"] = "failing"
    experiment["runner"]["max_restarts"] = 2
    with pytest.raises(TrainerError) as caught:
        agent.run(experiment | {"io": None, "loss": None})
    first = "rank 1: ZeroDivisionError: a bug on rank 1 (after 2 restarts)\n"
    assert str(caught.value).startswith(first)


@pytest.mark.usefixtures("rank_parts")
def test_rank_that_cannot_build_stops_the_others(
    experiment: dict[str, Any], agent: Agent, tmp_path: Path
) -> None:
    experiment["data"]["_type_"] = "missing_on_rank_1"
    experiment["runner"]["max_restarts"] = 3
    with pytest.raises(UserError) as caught:
        agent.run(experiment)
    assert str(caught.value) == "rank 1: the disk of this machine has no data"
    assert not (tmp_path / "run").exists()


def test_batch_that_cannot_be_cut_is_said_once(experiment: dict[str, Any], agent: Agent) -> None:
    experiment["data"]["batch_size"] = 25
    with pytest.raises(ConfigError) as caught:
        agent.run(experiment)
    assert "a batch of 25 cannot be cut into 2 ranks" in str(caught.value)
    assert "24 or 26 can" in str(caught.value)
    assert "rank 1" not in str(caught.value)


def test_nccl_without_cuda_is_refused(experiment: dict[str, Any], agent: Agent) -> None:
    experiment["runner"]["backend"] = "nccl"
    with pytest.raises(UserError) as caught:
        agent.run(experiment)
    assert str(caught.value) == (
        "runner ddp: backend nccl needs CUDA devices, this run is on 'cpu'; use backend: gloo, "
        "or auto"
    )
