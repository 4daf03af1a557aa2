"""Set up before any test module is imported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path

# Each pytest worker and each process that a test starts computes on one thread: the suite runs a
# worker per core, and small models are slower on more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Continuous integration tries the same examples every time; a developer's machine tries new ones.
# No example has a time limit: a busy machine must not decide whether a test passes.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def dropout_experiment(tmp_path: Path) -> dict[str, Any]:
    """An experiment with dropout and clipping that any number of processes train in a blink."""
    layers = [
        {"_type_": "nn.Linear", "in_features": 3, "out_features": 8},
        {"_type_": "nn.Dropout", "p": 0.3},
        {"_type_": "nn.Linear", "in_features": 8, "out_features": 2},
    ]
    return {
        "schema_version": 1,
        "run": {"name": "dropout", "out_dir": str(tmp_path / "run"), "device": "cpu"},
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
