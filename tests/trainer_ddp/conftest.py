"""A small experiment, and a wheel whose parts behave differently on each rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PARTS = Path(__file__).with_name("rank_parts.py")


@pytest.fixture
def experiment(tmp_path: Path) -> dict[str, Any]:
    """An experiment with dropout and clipping that two processes train in a blink."""
    layers = [
        {"_type_": "nn.Linear", "in_features": 3, "out_features": 8},
        {"_type_": "nn.Dropout", "p": 0.3},
        {"_type_": "nn.Linear", "in_features": 8, "out_features": 2},
    ]
    return {
        "schema_version": 1,
        "run": {"name": "ranks", "out_dir": str(tmp_path / "run"), "device": "cpu"},
        "runner": {"_type_": "ddp", "nproc_per_node": 2, "timeout_s": 30},
        "model": {"sequential": {"layers": layers}},
        "data": {
            "_type_": "random_regression",
            "x_shape": [3],
            "y_shape": [2],
            "size": 50,
            "batch_size": 24,
        },
        "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["y"]}},
        "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
        "optimizer": {"_type_": "torch", "type": "AdamW", "kwargs": {"lr": 0.01}},
        "trainer": {
            "_type_": "default",
            "max_steps": 6,
            "log_every_n_steps": 2,
            "grad_clip_norm": 1.0,
        },
        "callbacks": [{"_type_": "model_checkpoint", "every_n_steps": 3}],
        "loggers": [{"_type_": "jsonl"}],
    }


@pytest.fixture
def rank_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the components of `rank_parts.py`."""
    info = tmp_path / "site" / "rank_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rank-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[trainer_core.trainers]\n"
        "own_step = rank_parts:OwnStep\n"
        "masked = rank_parts:Masked\n"
        "failing = rank_parts:Failing\n"
        "diverging = rank_parts:Diverging\n"
        "[trainer_core.datasets]\n"
        "missing_on_rank_1 = rank_parts:MissingOnRank1\n"
    )
    (tmp_path / "site" / "rank_parts.py").write_text(PARTS.read_text())
    monkeypatch.syspath_prepend(tmp_path / "site")
