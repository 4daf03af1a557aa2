"""Runs in the workers of a real cluster: equality, recovery, signals, a program's own trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import trainer_core
from trainer_core.checkpoint.layout import list_steps
from trainer_core.errors import CheckpointError

LIMIT_S = 150


def _weights(run: Path) -> dict[str, torch.Tensor]:
    newest = list_steps(run / "checkpoints")[0][1]
    return load_file(newest / "model.model.safetensors")


def _locally(experiment: dict[str, Any], out_dir: Path) -> dict[str, torch.Tensor]:
    run = {**experiment["run"], "out_dir": str(out_dir)}
    halves = {**experiment["trainer"], "grad_accum_steps": 2}  # the dropout of two workers
    alone = {**experiment, "run": run, "runner": {"_type_": "local"}, "trainer": halves}
    trainer_core.run(alone)
    return _weights(out_dir)


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=1e-6)


def _wait_for(condition: Any) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def _main_worker(run: Path) -> int | None:
    """Return the process that has a file of this run open: rank 0."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and entry.name != str(os.getpid()):
            with suppress(OSError):
                files = {str(file.readlink()) for file in (entry / "fd").iterdir()}
                if any(file.startswith(str(run)) for file in files):
                    return int(entry.name)
    return None


def test_two_workers_end_in_the_weights_of_one_process_and_their_lines_are_shown(
    experiment: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = trainer_core.run(experiment)
    assert (result.status, result.step) == ("completed", 6)
    assert result.out_dir == tmp_path / "run"
    assert "step 6/6  loss" in capsys.readouterr().out
    _same(_weights(tmp_path / "run"), _locally(experiment, tmp_path / "local"))


def test_a_killed_worker_is_replaced_and_no_checkpoint_is_lost(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    experiment["runner"]["max_failures"] = 1
    experiment["trainer"] |= {"max_steps": 3000, "log_every_n_steps": 1000}
    experiment["callbacks"][0] |= {"every_n_steps": 100, "keep_last": 100}
    seen: list[int] = []

    def kill() -> None:
        _wait_for(lambda: len(list_steps(run / "checkpoints")) >= 2)
        seen.extend(step for step, _ in list_steps(run / "checkpoints"))
        os.kill(_wait_for(lambda: _main_worker(run)), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = trainer_core.run(experiment)
    killer.join(LIMIT_S)
    assert (result.status, result.step) == ("completed", 3000)
    kept = {step for step, _ in list_steps(run / "checkpoints")}
    assert seen
    assert kept >= set(seen)
    _same(_weights(run), _locally(experiment, tmp_path / "local"))


def test_an_interrupt_saves_and_one_process_goes_on(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    experiment["trainer"] |= {"max_steps": 100_000, "log_every_n_steps": 1000}
    config = tmp_path / "cfg.yaml"
    config.write_text(json.dumps(experiment))
    command = [sys.executable, "-m", "trainer_core", "run", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        _wait_for(lambda: list_steps(run / "checkpoints"))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 75, output
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert list_steps(run / "checkpoints")[0][0] == summary["step"]
    changes = [f"trainer.max_steps={summary['step'] + 5}", "run.allow=[schedule]"]
    result = trainer_core.run(config, changes, runner="local")
    assert (result.status, result.step) == ("completed", summary["step"] + 5)


def test_what_a_worker_finds_wrong_is_told_once_and_not_tried_again(
    experiment: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    experiment["runner"]["max_failures"] = 3
    experiment["run"]["resume"] = 7
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*step-000000007"):
        trainer_core.run(experiment)
    assert "rank" not in capsys.readouterr().err


def test_the_trials_of_a_sweep_run_side_by_side_and_a_finished_one_is_not_run_again(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    experiment["runner"] |= {"num_workers": 1, "resources_per_worker": {"CPU": 3}}
    config = tmp_path / "cfg.yaml"
    config.write_text(json.dumps(experiment))
    command = [sys.executable, "-m", "trainer_core", "run", str(config)]
    command += ["--sweep", "run.seed=0,1", "--json"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert first.returncode == 0, first.stderr
    trials = json.loads(first.stdout)["trials"]
    assert [(trial["status"], trial["step"]) for trial in trials] == [("completed", 6)] * 2
    assert first.stderr.count(": begun\n") == 2
    again = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert again.returncode == 0
    assert ": begun\n" not in again.stderr


def test_a_program_trains_with_a_trainer_of_its_own(
    experiment: dict[str, Any], address: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from trainer_ray import train_func

ray.init({address!r}, log_to_driver=False)
result = TorchTrainer(
    train_func,
    train_loop_config={{"config": {experiment!r}, "overrides": ["trainer.max_steps=4"]}},
    scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(storage_path={str(tmp_path / "ray")!r}),
).fit()
"""
    )
    command = [sys.executable, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("completed", 4)
