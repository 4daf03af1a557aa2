"""Small runs that are killed and go on, and what two ends of a run must have in common."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.reader import newest_valid, open_checkpoint
from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from pathlib import Path

    from trainer_core.results import RunResult

__all__ = ["contents_of", "describe_difference", "end_of", "newest_problem", "small_run", "train"]

logging.getLogger("trainer_core").addHandler(logging.NullHandler())

_CLOCKS = ("wall_s", "data_s", "step_s", "samples_per_s", "val_s", "time")
"""Fields that hold times, which no two runs share."""


def small_run(*, every: int = 1, keep: int = 3, steps: int = 12, **sections: Any) -> dict[str, Any]:
    """Return a run of milliseconds with dropout, a schedule and epochs that end between steps."""
    layers: list[dict[str, Any]] = [
        {"_type_": "nn.Linear", "in_features": 3, "out_features": 8},
        {"_type_": "nn.Dropout", "p": 0.3},
        {"_type_": "nn.Linear", "in_features": 8, "out_features": 2},
    ]
    data = {"_type_": "random_regression", "x_shape": [3], "y_shape": [2], "size": 22}
    return {
        "schema_version": 1,
        "run": {"name": "faults", "out_dir": "unset", "device": "cpu"},
        "model": {"sequential": {"layers": layers}},
        "data": {**data, "batch_size": 4},
        "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["y"]}},
        "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
        "optimizer": {"_type_": "torch", "type": "AdamW", "kwargs": {"lr": 0.01}},
        "scheduler": {
            "_type_": "torch",
            "type": "CosineAnnealingLR",
            "kwargs": {"T_max": steps},
        },
        "trainer": {"_type_": "default", "max_steps": steps, "log_every_n_steps": 3},
        "callbacks": [{"_type_": "model_checkpoint", "every_n_steps": every, "keep_last": keep}],
        "loggers": [{"_type_": "jsonl"}],
        **sections,
    }


def train(config: dict[str, Any], out_dir: Path, resume: str = "auto") -> RunResult:
    """Build a run and train it to the end, from where the folder has it."""
    config = {**config, "run": {**config["run"], "out_dir": str(out_dir)}}
    experiment = build_experiment(load_experiment(config), LocalRanks())
    return fit(experiment, out_dir, resume=resume)


def contents_of(folder: Path) -> dict[str, str]:
    """Return a digest of every part of a checkpoint's state, without times.

    Raises:
        CheckpointError: It does not verify.
    """
    checkpoint = open_checkpoint(folder)
    parts = {}
    for name, entry in checkpoint.manifest["files"].items():
        if name.endswith(".safetensors"):
            parts[name] = entry["sha256"]
        elif name == "state.json":
            parts[name] = _digest(_without_clocks(checkpoint.read_json(name)))
        elif name.startswith("plugins/"):
            parts[name] = _digest(checkpoint.read_json(name))
    return parts


def end_of(out_dir: Path) -> dict[str, Any]:
    """Return what two equal runs share: the last state, the logged numbers, the status."""
    steps = list_steps(out_dir / "checkpoints")
    lines = (out_dir / "metrics.jsonl").read_text().splitlines()
    records = [_without_clocks(json.loads(line)) for line in lines]
    summary = _without_clocks(json.loads((out_dir / "summary.json").read_text()))
    return {"metrics": records, "summary": summary, **contents_of(steps[0][1])}


def describe_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return which parts differ; empty if none do."""
    differing = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    return f"differs in {', '.join(differing)}" if differing else ""


def newest_problem(root: Path, states: dict[int, dict[str, str]], at_least: int) -> str:
    """Return what is wrong with the state that a folder of checkpoints gives; empty if nothing.

    Args:
        root: The folder `checkpoints`.
        states: The right contents by step.
        at_least: The newest step that was committed; 0: none was.
    """
    checkpoint = newest_valid(root, quarantine=False)
    if checkpoint is None:
        return f"step {at_least} was committed and is lost" if at_least else ""
    if checkpoint.step < at_least:
        return f"step {at_least} was committed, {checkpoint.step} is the newest that verifies"
    return describe_difference(contents_of(checkpoint.path), states[checkpoint.step])


def _without_clocks(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: _without_clocks(v) for k, v in tree.items() if str(k) not in _CLOCKS}
    return [_without_clocks(value) for value in tree] if isinstance(tree, list) else tree


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
