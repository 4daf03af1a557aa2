"""F20: checkpoints of every released format."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from benchmarks.faults import runs
from benchmarks.faults.golden import GOLDEN
from benchmarks.faults.table import Tally

from trainer_core.checkpoint.reader import open_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "golden checkpoints: all load, with their weights, and train on"


def run(budget: Budget) -> RowResult:
    """Verify each, compare its weights with the numbers beside it, and train it to its end."""
    folders = sorted(path.parent for path in GOLDEN.glob("format-*/*/experiment.json"))
    tally = Tally("F20", TITLE, len(folders))
    for number, folder in enumerate(folders):
        problem = _problem(folder, budget.folder / str(number))
        tally.add(problem, f"{folder.parent.name}, {folder.name}")
    formats = sorted({folder.parent.name for folder in folders})
    return tally.result(f"{', '.join(formats)}")


def _problem(folder: Path, out_dir: Path) -> str:
    saved = next(folder.glob("step-*"))
    tensors = open_checkpoint(saved).read_tensors("model.model.safetensors")
    found = {name: tensor.flatten().tolist() for name, tensor in tensors.items()}
    if found != json.loads((folder / "weights.json").read_text()):
        return "other weights"
    config = json.loads((folder / "experiment.json").read_text())
    shutil.copytree(saved, out_dir / "checkpoints" / saved.name)
    result = runs.train(config, out_dir)
    return "" if (result.status, result.step) == ("completed", 8) else f"{result.status}"
