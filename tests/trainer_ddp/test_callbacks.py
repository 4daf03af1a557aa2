"""Decisions and frozen parts are the same on every rank, for real: two processes against one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

import trainer_core

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_ddp.conftest import Agent

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


def read_outcome(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    summary = json.loads((folder / "summary.json").read_text())
    saved = folder / "checkpoints" / f"step-{summary['step']:09d}"
    return summary, load_file(saved / "model.model.safetensors")


def test_stop_and_frozen_parts_are_those_of_one_process(agent: Agent, tmp_path: Path) -> None:
    for name, runner in RUNNERS.items():
        section = {"name": name, "out_dir": str(tmp_path / name), "device": "cpu"}
        config = EXPERIMENT | {"run": section, "runner": runner}
        (trainer_core.run if name == "one" else agent.run)(config)
    one, weights_of_one = read_outcome(tmp_path / "one")
    two, weights_of_two = read_outcome(tmp_path / "two")
    assert (one["step"], one["stop_reason"]) == (two["step"], two["stop_reason"])
    assert one["step"] == 15
    for name, weight in weights_of_one.items():
        assert torch.allclose(weight, weights_of_two[name], atol=1e-6)
    assert len(list((tmp_path / "two" / "profile").iterdir())) == 2
