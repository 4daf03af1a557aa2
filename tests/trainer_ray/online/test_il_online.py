"""An imitation-learning recipe that learns online, in the real simulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.faults.runs import il_run

import trainer_core
from trainer_core.checkpoint.reader import newest_valid
from trainer_core.engine.trained import load_trained
from trainer_core.loggers.jsonl import read_metrics

if TYPE_CHECKING:
    from pathlib import Path


def test_a_policy_plays_meta_world_and_learns_from_what_it_played(
    address: str, tmp_path: Path
) -> None:
    runner: dict[str, Any] = {"_type_": "ray_online", "address": address, "keep": "all"}
    runner |= {"replay_buffer": str(tmp_path), "policy_state_manager": f"{tmp_path} weights"}
    runner |= {"min_frames": 20, "rollout": {"max_steps": 5}, "publish_every": 2}
    evaluation = {"_type_": "metaworld", "task": "reach-v3", "episodes": 1, "max_steps": 5}
    changes = {"runner": runner, "evaluation": {**evaluation, "video_episodes": 0}}
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    overrides.append(f"run.out_dir={json.dumps(str(tmp_path / 'run'))}")
    result = trainer_core.run(il_run(tmp_path), overrides)
    assert (result.status, result.step, result.evaluation["n"]) == ("completed", 10, 1)
    shown = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert shown[-1]["online/frames"] >= 20
    assert shown[-1]["online/staleness"] >= 0
    checkpoint = newest_valid(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert "observation.state" in checkpoint.read_json("state.json")["data"]["keys"]
    assert load_trained(checkpoint).step == 10
