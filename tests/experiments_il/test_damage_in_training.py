"""A data set that breaks while it is trained on ends the run loudly and costs no checkpoint."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.experiments_il.data.damaged import SIDE, VIDEO, cut, write_healthy

from trainer_core.checkpoint.reader import newest_valid
from trainer_core.errors import DatasetError
from trainer_core.run import run

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 8


def config(root: Path, out: Path) -> dict[str, Any]:
    return {
        "run": {"name": "damaged", "out_dir": str(out), "device": "cpu"},
        "models": {
            "state_encoder": {"_type_": "state_encoder", "state_dim": 3, "width": WIDTH},
            "info_embedder": {
                "_type_": "info_embedder",
                "sources": {"observation.state": WIDTH},
                "width": WIDTH,
            },
            "action_decoder": {
                "_type_": "mlp_action_decoder",
                "action_dim": 2,
                "horizon": 2,
                "memory_width": WIDTH,
                "width": WIDTH,
            },
        },
        "data": {
            "_type_": "lerobot",
            "root": str(root),
            "windows": {"action": [0, 2]},
            "keys": ["observation.state", SIDE],
            "cache": "none",
            "batch_size": 8,
        },
        "loss": {"_type_": "l2"},
        "optimizer": {"_type_": "optim_cls.AdamW", "lr": 1e-3},
        "trainer": {
            "_type_": "naive_flow_matching_policy_trainer",
            "max_steps": 400,
            "n_action_steps": 2,
        },
        "callbacks": [{"_type_": "model_checkpoint", "every_n_steps": 4}],
        "loggers": [],
    }


def test_video_that_is_cut_during_training_is_named(tmp_path: Path) -> None:
    root, out = write_healthy(tmp_path / "set", "video", side=256), tmp_path / "run"
    assert (root / VIDEO).stat().st_size > 2**19  # more than a decoder reads ahead

    def cut_after_a_checkpoint() -> None:
        deadline = time.monotonic() + 60
        while not list(out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        cut(root / VIDEO, 0.5)

    thread = threading.Thread(target=cut_after_a_checkpoint)
    thread.start()
    with pytest.raises(DatasetError) as caught:
        run(config(root, out))
    thread.join(120)
    assert str(caught.value).startswith(f"{root / VIDEO}: ")
    assert "episode " in str(caught.value)
    checkpoint = newest_valid(out / "checkpoints", quarantine=False)
    assert checkpoint is not None
    assert checkpoint.step >= 4
