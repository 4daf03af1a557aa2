"""Small runs that are killed and go on, and what two ends of a run must have in common."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from experiments_il.data.sample_episodes import write_sample_episodes
from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.reader import newest_valid, open_checkpoint
from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.engine.runfolder import resolved_yaml
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks
from trainer_core.run import build_runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.engine.built import Experiment
    from trainer_core.results import RunResult

__all__ = [
    "contents_of",
    "describe_difference",
    "end_of",
    "il_run",
    "newest_problem",
    "small_run",
    "train",
]

_OWN = (
    *("num_workers", "wall_s", "time", "samples_per_s", "data_share", "val_s"),
    *("data_s", "forward_s", "backward_s", "optimizer_s", "step_s"),
)
"""Fields that equal runs need not share: times, and who read the data."""


def small_run(
    *, every: int = 1, keep: int = 3, steps: int = 12, is_async: bool = True, **sections: Any
) -> dict[str, Any]:
    """Return a run of milliseconds with dropout, a schedule and epochs that end between steps."""
    saving = {"_type_": "model_checkpoint", "every_n_steps": every, "keep_last": keep}
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
        "callbacks": [{**saving, "async_save": is_async}],
        "loggers": [{"_type_": "jsonl"}],
        **sections,
    }


def il_run(folder: Path, *, num_workers: int = 0) -> Path:
    """Write the file of a small run of the recipe `il/reach` on recorded noise; return it."""
    demonstrations = folder / "demos"
    if not demonstrations.exists():
        write_sample_episodes(folder)
    data: dict[str, Any] = {"_merge_": "replace", "_type_": "lerobot", "root": str(demonstrations)}
    data |= {"windows": {"action": [0, 8]}, "batch_size": 4, "num_workers": num_workers}
    saving = {"_type_": "model_checkpoint", "every_n_steps": 2, "keep_last": 2}
    changes: dict[str, Any] = {
        "data": data,
        "params": {"width": 16, "steps": 10},
        "optimizer.warmup_steps": 2,
        "evaluation": None,
        "+callbacks": [saving],
        "loggers": [{"_type_": "jsonl"}],
        "trainer.log_every_n_steps": 3,
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    file = folder / f"il-{num_workers}.yaml"
    file.write_text(resolved_yaml(load_experiment("il/reach", overrides)))
    return file


def train(
    config: dict[str, Any] | Path,
    out_dir: Path,
    resume: str = "auto",
    change: Callable[[Experiment], None] = lambda _: None,
) -> RunResult:
    """Build a run and train it to the end, from where the folder has it.

    Args:
        config: The experiment.
        out_dir: The run folder.
        resume: Where it goes on.
        change: Called with what was built.
    """
    overrides = [f"run.out_dir={json.dumps(str(out_dir))}"]
    loaded = load_experiment(config, overrides)
    if loaded.config.runner["_type_"].endswith("runner.local"):
        experiment = build_experiment(loaded, LocalRanks())
        change(experiment)
        return fit(experiment, out_dir, resume=resume)
    result: RunResult = build_runner(loaded).run(loaded)
    return result


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
            parts[name] = _digest(_shared(checkpoint.read_json(name)))
        elif name.startswith("plugins/"):
            parts[name] = _digest(checkpoint.read_json(name))
    return parts


def end_of(out_dir: Path) -> dict[str, Any]:
    """Return what two equal runs share: the last state, the logged numbers, the status."""
    steps = list_steps(out_dir / "checkpoints")
    lines = (out_dir / "metrics.jsonl").read_text().splitlines()
    records = [_shared(json.loads(line)) for line in lines]
    summary = _shared(json.loads((out_dir / "summary.json").read_text()))
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


def _shared(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: _shared(v) for k, v in tree.items() if _is_shared(str(k))}
    return [_shared(value) for value in tree] if isinstance(tree, list) else tree


def _is_shared(key: str) -> bool:
    return key.rpartition(".")[2] not in _OWN


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
