"""`trainer ckpt ls|verify|prune` on checkpoints as the engine writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.ranking import Goal, point_to_best
from trainer_core.checkpoint.writer import Snapshot, begin_checkpoint, commit_checkpoint
from trainer_core.cli import main

if TYPE_CHECKING:
    from pathlib import Path

LOSSES = {4: 0.5, 8: 0.1, 12: 0.3}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three checkpoints, the second of which is the best."""
    root = tmp_path / "run" / "checkpoints"
    for step, loss in LOSSES.items():
        state = {"metrics": {"val/loss": loss}, "loop": {"validated_step": step}}
        snapshot = Snapshot(
            step,
            {"model.net.safetensors": {"w": torch.ones(1000)}},
            {"state.json": json.dumps(state)},
            {"world_size": 1, "created": "2026-11-21T10:00:00+00:00"},
        )
        commit_checkpoint(begin_checkpoint(root, step), snapshot)
    point_to_best(root, Goal("val/loss", "min"), LOSSES)
    return tmp_path / "run"


def damage(run: Path, step: int) -> Path:
    file = run / "checkpoints" / f"step-{step:09d}" / "model.net.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    return file


def test_list_shows_the_best_and_the_last(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ckpt", "ls", str(run)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    written = ["2026-11-21", "10:00:00", "UTC", "4.2", "kB", "1"]
    assert lines[1:] == [
        ["12", *written, "val/loss=0.3", "last"],
        ["8", *written, "val/loss=0.1", "best"],
        ["4", *written, "val/loss=0.5"],
    ]


def test_list_for_machines(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints" / "step-000000004" / "state.json").unlink()
    assert main(["ckpt", "ls", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["checkpoints"]
    assert [(entry["step"], entry["is_best"]) for entry in found] == [
        (12, False),
        (8, True),
        (4, False),
    ]
    assert found[2]["problem"].endswith("state.json is missing")


def test_whole_checkpoints_pass(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ckpt", "verify", str(run)]) == 0
    assert capsys.readouterr().out.count("whole") == 3


def test_flipped_bit_is_found_and_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = damage(run, 8)
    assert main(["ckpt", "verify", str(run)]) == 1
    assert f"{file} is corrupt: its sha256" in capsys.readouterr().out
    assert main(["ckpt", "verify", str(run / "checkpoints" / "step-000000012")]) == 0


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ([], [12, 8]),
        (["--keep-best", "0"], [12]),
        (["--keep-last", "2", "--keep-best", "0"], [12, 8]),
        (["--monitor", "val/loss", "--mode", "max"], [12, 4]),
        (["--keep-best", "1"], [12, 8]),
        (["--keep-best", "1", "--monitor", "val/loss", "--mode", "max"], [12, 4]),
        (["--keep-last", "0", "--keep-best", "0"], [12]),
    ],
)
def test_pruning_keeps_what_is_asked(run: Path, options: list[str], left: list[int]) -> None:
    assert main(["ckpt", "prune", str(run), *options]) == 0
    assert [step for step, _ in list_steps(run / "checkpoints")] == left


def test_newest_whole_checkpoint_is_never_deleted(run: Path) -> None:
    damage(run, 12)
    assert main(["ckpt", "prune", str(run), "--keep-last", "1"]) == 0
    assert [step for step, _ in list_steps(run / "checkpoints")] == [12, 8]


def test_dry_run_deletes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ckpt", "prune", str(run), "--dry-run"]) == 0
    assert capsys.readouterr().out == "would delete: 4; kept: 8, 12\n"
    assert len(list_steps(run / "checkpoints")) == 3


@pytest.mark.parametrize("command", ["ls", "verify", "prune"])
def test_folder_without_checkpoints_is_the_user_s_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main(["ckpt", command, str(tmp_path)]) == 2
    message = f"error: {tmp_path} is neither a run with checkpoints nor a checkpoint\n"
    assert capsys.readouterr().err == message
