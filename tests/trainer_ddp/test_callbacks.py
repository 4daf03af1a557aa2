"""Decisions and frozen parts are the same on every rank, for real: two processes against one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors.torch import load_file

if TYPE_CHECKING:
    from pathlib import Path

LAYER = {"_type_": "nn.Linear", "in_features": 3}
EXPERIMENT: dict[str, Any] = {
    "schema_version": 1,
    "model": {
        "sequential": {
            "layers": [
                LAYER | {"out_features": 4},
                {"_type_": "nn.Linear", "in_features": 4, "out_features": 2},
            ]
        }
    },
    "data": {
        "_type_": "random_regression",
        "x_shape": [3],
        "y_shape": [2],
        "size": 64,
        "val_size": 16,
        "batch_size": 8,
    },
    "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["y"]}},
    "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
    "optimizer": {"_type_": "torch", "type": "AdamW", "kwargs": {"lr": 0.01, "weight_decay": 0.5}},
    "trainer": {"_type_": "default", "max_steps": 60, "val_every_n_steps": 5},
    "callbacks": [
        {"_type_": "early_stopping", "patience": 2, "min_delta": 10},
        {"_type_": "freeze_schedule", "parts": {"model/*0.*": {"freeze_at": 3, "unfreeze_at": 6}}},
        {"_type_": "profiler", "from_step": 2, "steps": 2},
    ],
}
RUNNERS: dict[str, dict[str, Any]] = {
    "one": {"_type_": "local"},
    "two": {"_type_": "ddp", "nproc_per_node": 2, "find_unused_parameters": True},
}


def run(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    section = {"name": name, "out_dir": str(folder / name), "device": "cpu"}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(EXPERIMENT | {"run": section, "runner": RUNNERS[name]}))
    command = [sys.executable, "-m", "trainer_core.cli", "run", str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=180, cwd=folder)
    summary = json.loads((folder / name / "summary.json").read_text())
    saved = folder / name / "checkpoints" / f"step-{summary['step']:09d}"
    return summary, load_file(saved / "model.model.safetensors")


def test_stop_and_frozen_parts_are_those_of_one_process(tmp_path: Path) -> None:
    one, weights_of_one = run(tmp_path, "one")
    two, weights_of_two = run(tmp_path, "two")
    assert (one["step"], one["stop_reason"]) == (two["step"], two["stop_reason"])
    assert one["step"] == 15
    for name, weight in weights_of_one.items():
        assert torch.allclose(weight, weights_of_two[name], atol=1e-6)
    assert len(list((tmp_path / "two" / "profile").iterdir())) == 2
