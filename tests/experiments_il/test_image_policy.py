"""A camera policy, from PNG frames in parquet to a checkpoint, through the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.loggers.jsonl import read_metrics
from trainer_core.run import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.results import RunResult

SAMPLE = Path(__file__).parents[1] / "data/lerobot_v3_image/dataset"
CAMERA, STATE = "observation.images.top", "observation.state"
WIDTH = {"width": 32}


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., RunResult]:
    config: dict[str, Any] = {
        "run": {"name": "camera", "out_dir": str(tmp_path / "run"), "device": "cpu"},
        "models": {
            "state_encoder": {
                "_type_": "state_encoder",
                "state_dim": 2,
                "n_obs_steps": 2,
                "hidden": [32],
                **WIDTH,
            },
            "camera": {
                "_type_": "small_resnet",
                "channels": [16, 32],
                "grid": 2,
                "n_obs_steps": 2,
                **WIDTH,
            },
            "info_embedder": {
                "_type_": "info_embedder",
                "sources": {STATE: 32, CAMERA: 32},
                **WIDTH,
            },
            "action_decoder": {
                "_type_": "transformer_action_decoder",
                "action_dim": 2,
                "horizon": 4,
                "layers": 1,
                "heads": 2,
                **WIDTH,
            },
        },
        "data": {
            "_type_": "lerobot",
            "root": str(SAMPLE),
            "cache_dir": str(tmp_path / "cache"),
            "windows": {"action": [0, 4], STATE: [-1, 1], CAMERA: [-1, 1]},
            "keys": [],
            "normalize": {STATE: "mean_std", "action": "min_max"},
            "batch_size": 16,
        },
        "loss": {"_type_": "l2"},
        "optimizer": {"_type_": "adamw_warmup_cosine_decay", "peak_lr": 3e-3},
        "trainer": {
            "_type_": "naive_flow_matching_policy_trainer",
            "max_steps": 40,
            "log_every_n_steps": 10,
            "n_obs_steps": 2,
            "n_action_steps": 2,
            "cameras": {CAMERA: "camera"},
        },
        "loggers": [{"_type_": "jsonl"}],
    }
    return lambda *changes: run(config, changes)


def test_loss_of_a_camera_policy_falls(train: Callable[..., RunResult]) -> None:
    result = train()
    losses = [record["loss"] for record in read_metrics(result.out_dir / "metrics.jsonl")]
    assert losses[-1] < 0.75 * losses[0]
    kept = {path.name for path in (result.out_dir / "checkpoints/step-000000040").iterdir()}
    assert {"model.camera.safetensors", "norm_stats.json"} <= kept


def test_workers_bring_the_same_frames(train: Callable[..., RunResult], tmp_path: Path) -> None:
    alone = train("trainer.max_steps=3")
    other = f"run.out_dir={tmp_path / 'workers'}"
    shared = train("trainer.max_steps=3", "data.num_workers=2", other)
    assert shared.metrics["loss"] == alone.metrics["loss"]


def test_frozen_camera_keeps_its_weights(train: Callable[..., RunResult], tmp_path: Path) -> None:
    def camera(result: RunResult) -> bytes:
        file = "checkpoints/step-{:09d}/model.camera.safetensors"
        return (result.out_dir / file.format(result.step)).read_bytes()

    first = train("trainer.max_steps=2")
    weights = f"models.camera.weights={tmp_path / 'run'}"
    other = f"run.out_dir={tmp_path / 'frozen'}"
    frozen = train("trainer.max_steps=3", "models.camera.freeze=true", weights, other)
    assert camera(frozen) == camera(first)


def test_augmented_run_resumes_exactly(train: Callable[..., RunResult], tmp_path: Path) -> None:
    def camera(result: RunResult) -> bytes:
        return (result.out_dir / "checkpoints/step-000000004/model.camera.safetensors").read_bytes()

    augment = "trainer.augment=[{_type_: random_shift, padding: 6}, {_type_: color_jitter}]"
    changes = ["optimizer.total_steps=40", "trainer.max_steps=4"]
    whole = camera(train(augment, *changes))
    plain = camera(train(*changes, f"run.out_dir={tmp_path / 'plain'}"))
    cut = [augment, *changes, f"run.out_dir={tmp_path / 'cut'}"]
    train(*cut, "trainer.max_steps=2")
    assert camera(train(*cut)) == whole
    assert plain != whole
