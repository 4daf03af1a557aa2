"""F6: the newest checkpoint is damaged."""

from __future__ import annotations

import hashlib
import shutil
import time
from typing import TYPE_CHECKING

import torch
from benchmarks.faults.table import Tally

from trainer_core.checkpoint.layout import MANIFEST, QUARANTINE, step_name
from trainer_core.checkpoint.reader import newest_valid
from trainer_core.checkpoint.writer import Snapshot, begin_checkpoint, commit_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "newest damaged: set aside, the one before it used, within 2 s"
ROUNDS = 20
BEYOND_HASHING_S = 2.0


def run(budget: Budget) -> RowResult:
    """Damage the newer of two large checkpoints and measure how long finding the other takes."""
    tally, random = Tally("F6", TITLE, ROUNDS), budget.random()
    megabytes = 4 if budget.is_short else 400
    root = budget.folder / "checkpoints"
    slowest = 0.0
    for step in (1, 2):
        tensor = torch.full((megabytes * 2**18,), float(step))
        snapshot = Snapshot(step, {"model.model.safetensors": {"weight": tensor}})
        commit_checkpoint(begin_checkpoint(root, step), snapshot)
    newest = root / step_name(2)
    for number in range(budget.count(ROUNDS, 2)):
        if not budget.has_time():
            break
        path = newest / random.choice((MANIFEST, "model.model.safetensors"))
        _flip(path, position := random.randrange(path.stat().st_size))
        hashing_s = _hash(root)
        began = time.perf_counter()
        found = newest_valid(root)
        beyond_s = time.perf_counter() - began - hashing_s
        slowest = max(slowest, beyond_s)
        aside = root / QUARANTINE / newest.name
        problem = "" if found is not None and found.step == 1 else f"{found} was used"
        problem = problem or ("" if aside.is_dir() else "it was not set aside")
        if beyond_s > BEYOND_HASHING_S:
            problem = problem or f"it took {beyond_s:.1f} s beyond hashing"
        tally.add(problem, f"round {number}, {path.name}")
        if aside.is_dir():
            aside.rename(newest)
        _flip(path, position)
    shutil.rmtree(root)
    return tally.result(f"{megabytes} MB each, at most {slowest:.2f} s beyond hashing")


def _flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def _hash(root: Path) -> float:
    began = time.perf_counter()
    for path in root.rglob("*.safetensors"):
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return time.perf_counter() - began
