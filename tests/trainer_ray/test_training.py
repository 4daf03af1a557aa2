"""Runs in the workers of a real cluster: equality, recovery, signals, a program's own trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from tests.trainer_ray.processes import LIMIT_S, main_worker, wait_for

import trainer_core
from trainer_core.checkpoint.layout import list_steps
from trainer_core.errors import CheckpointError, TrainerError

if TYPE_CHECKING:
    from pathlib import Path


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
        wait_for(lambda: len(list_steps(run / "checkpoints")) >= 2)
        seen.extend(step for step, _ in list_steps(run / "checkpoints"))
        os.kill(wait_for(lambda: main_worker(run)), signal.SIGKILL)

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
        wait_for(lambda: list_steps(run / "checkpoints"))
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


def test_a_program_trains_with_a_trainer_of_its_own(
    experiment: dict[str, Any], address: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import json
from pathlib import Path

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
told = Path(result.checkpoint.path, "pointer.json").read_text()
print(result.metrics["status"], Path(json.loads(told)["checkpoint"]).name)
"""
    )
    command = [sys.executable, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "completed step-000000004"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("completed", 4)


PARTS = """
import time
from trainer_core.datasets import RandomRegression

class Data:
    def __init__(self, dataset):
        self.dataset = dataset
        self.reads = 0

    def __len__(self):
        return len(self.dataset)

    def __getitems__(self, indices):
        self.reads += 1
        if self.reads == 4:
            sleep_for_ever()
        return self.dataset.__getitems__(indices)

def sleep_for_ever():
    time.sleep(600)

class Hanging(RandomRegression):
    def build(self, opt_params, params):
        splits = super().build(opt_params, params)
        return {**splits, "dataset": Data(splits["dataset"])}
"""


def test_a_worker_that_hangs_is_ended_by_its_watchdog_and_named(
    experiment: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    info = tmp_path / "site" / "hung_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hung-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trainer_core.datasets]\nhung = hung_parts:Hanging\n")
    (tmp_path / "site" / "hung_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path / "site")
    experiment["data"]["_type_"] = "hung"
    experiment["run"]["watchdog_s"] = 2
    experiment["runner"]["num_workers"] = 1
    with pytest.raises(TrainerError) as caught:
        trainer_core.run(experiment)
    stacks = tmp_path / "run" / "stacks" / "rank-0.txt"
    assert str(caught.value) == (
        "no progress for 2 s after step 2: rank 0 hangs and is ended (run.watchdog_s). The stacks "
        f"of its threads are in {stacks}"
    )
    assert "sleep_for_ever" in stacks.read_text()
    assert f"error: {caught.value}\n" in capsys.readouterr().err
