"""The recipe of experiments-il that learns online, with this runner."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from trainer_core.run import run

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = "il/peg_insert_online"
SMALL = [
    "params.demonstrations=2",
    "params.steps=4",
    "params.offline_steps=2",
    "optimizer.warmup_steps=1",
    "data.batch_size=8",
    "data.root=demonstrations",
    "evaluation.every=0",
    "evaluation.episodes=2",
    "evaluation.max_steps=4",
    "evaluation.video_episodes=0",
    "runner.rollout_workers=1",
    "runner.rollout.max_steps=4",
    "runner.keep=all",
    "runner.min_frames=8",
    "runner.fill_timeout_s=100",
    "run.out_dir=out",
]


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_dry_run_accepts_its_data_and_its_simulator() -> None:
    result = run(RECIPE, SMALL, dry_run=True)
    assert result.status == "checked"


@pytest.mark.slow
def test_recipe_learns_from_what_it_plays(address: str, tmp_path: Path) -> None:
    result = run(RECIPE, [*SMALL, f"runner.address={address}"])
    assert (result.status, result.step) == ("completed", 4)
    lines = (tmp_path / "out/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seen = [json.loads(line).get("online/frames", 0) for line in lines]
    assert max(seen) >= 8
