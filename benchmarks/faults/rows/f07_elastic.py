"""F7: another number of processes or of micro-batches for the same global batch."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.faults import runs
from benchmarks.faults.forks import run_forked
from benchmarks.faults.table import Tally
from safetensors.torch import load_file

from trainer_core.checkpoint.layout import list_steps

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult
    from torch import Tensor

TITLE = "other processes or accumulation: same weights within 1e-6"
GLOBAL_BATCH = 24
CLOSE = 1e-6


def run(budget: Budget) -> RowResult:
    """Train each way of cutting a batch of 24 over 1 to 4 processes and micro-batches."""
    shapes = [
        (world, accumulation)
        for world in (1, 2, 3, 4)
        for accumulation in range(1, GLOBAL_BATCH + 1)
        if GLOBAL_BATCH % (world * accumulation) == 0
    ]
    tally = Tally("F7", TITLE, len(shapes))
    config = runs.small_run(steps=20, every=20, keep=1)
    del config["model"]["sequential"]["layers"][1]  # dropout is keyed by micro-batch
    config["data"]["batch_size"] = GLOBAL_BATCH
    config["data"]["size"] = 50
    wanted = _train(config, budget.folder, 1, 1)
    bitwise, farthest = 0, 0.0
    if budget.is_short:
        shapes = [shape for shape in shapes if shape[0] == 1][::3]
    for world, accumulation in shapes:
        if not budget.has_time():
            break
        found = _train(config, budget.folder, world, accumulation)
        distance = max(float((found[name] - wanted[name]).abs().max()) for name in wanted)
        bitwise += distance == 0
        farthest = max(farthest, distance)
        problem = f"the weights differ by {distance:.1e}" if distance > CLOSE else ""
        tally.add(problem, f"{world} processes, {accumulation} micro-batches")
    return tally.result(f"{bitwise} bit for bit, farthest {farthest:.1e} after 20 steps")


def _train(
    config: dict[str, Any], folder: Path, world: int, accumulation: int
) -> dict[str, Tensor]:
    config = copy.deepcopy(config)
    config["trainer"]["grad_accum_steps"] = accumulation
    if world > 1:
        config["runner"] = {"_type_": "ddp", "nproc_per_node": world}
    out_dir = folder / f"{world}x{accumulation}"
    log = folder / "log.txt"
    code = run_forked(partial(_run, config, out_dir), log, 120)
    assert code == 0, log.read_text()
    newest = list_steps(out_dir / "checkpoints")[0][1]
    return load_file(newest / "model.model.safetensors")


def _run(config: dict[str, Any], out_dir: Path) -> None:
    runs.train(config, out_dir)
