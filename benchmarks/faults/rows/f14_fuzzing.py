"""F14: fuzzing of whatever reads bytes of strangers."""

from __future__ import annotations

import json
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
import yaml
from benchmarks.damage import damaged_bytes
from benchmarks.faults import runs
from benchmarks.faults.table import Tally

from policy_constructor.config import resolve_config
from policy_constructor.errors import ConfigError
from trainer_core.checkpoint.layout import MANIFEST, STATE, list_steps, read_manifest, verify_files
from trainer_core.checkpoint.packing import unpack
from trainer_core.checkpoint.reader import Checkpoint
from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "random bytes: read, or refused with the right error"
TARGET = 1_000_000
LONGEST_S = 1.0


def run(budget: Budget) -> RowResult:
    """Read mutants of a YAML file, a manifest, a packed state and a tensor file in turn."""
    tally, random = Tally("F14", TITLE, TARGET), budget.random()
    readers = _readers(budget.folder)
    counts: Counter[str] = Counter()
    for number in range(budget.count(TARGET, 1000)):
        if not budget.has_time():
            break
        name, seed, read, refusal = readers[number % len(readers)]
        data = damaged_bytes(seed, random)
        problem, began = "", time.process_time()
        try:
            read(data)
            counts["read"] += 1
        except refusal:
            counts["refused"] += 1
        except Exception as error:  # noqa: BLE001 - any other is what this row looks for
            problem = f"{type(error).__name__}: {error!s:.200} from {data[:200]!r}"
        if time.process_time() - began > LONGEST_S:
            problem = problem or "it took more than a second"
        tally.add(problem, f"{name} {number}")
    note = f"{counts['read']} read, {counts['refused']} refused; by mutation, without coverage"
    return tally.result(note)


def _readers(folder: Path) -> list[tuple[str, bytes, Callable[[bytes], object], type[Exception]]]:
    runs.train(runs.small_run(steps=2), folder / "run")
    whole = list_steps(folder / "run" / "checkpoints")[0][1]
    scratch = folder / "scratch"
    scratch.mkdir()
    (scratch / "model.safetensors").write_bytes(b"")
    checkpoint = Checkpoint(scratch, {"files": {"tensors": {}, STATE: {}}})
    tensors = next(whole.glob("model.*.safetensors")).read_bytes()
    text = yaml.safe_dump(runs.small_run()).encode()
    text += b"\nextra: &a {x: 1e-4, y: '${trainer.max_steps}', z: [*b, 2]}\nb: &b ${env:HOME}\n"

    def read_yaml(data: bytes) -> object:
        (scratch / "a.yaml").write_bytes(data)
        return resolve_config(scratch / "a.yaml")

    def read_a_manifest(data: bytes) -> None:
        (scratch / MANIFEST).write_bytes(data)
        verify_files(scratch, read_manifest(scratch))

    def read_sealed(data: bytes) -> None:
        """Read a manifest whose own hash is right: what it lists is a stranger's."""
        try:
            content = json.loads(data)
        except ValueError as error:
            raise CheckpointError from error
        if isinstance(content, dict) and isinstance(content.get("files"), dict):
            verify_files(scratch, content)

    def read_state(data: bytes) -> object:
        (scratch / STATE).write_bytes(data)
        return unpack(checkpoint.read_json(STATE), {"a": torch.zeros(1)})

    def read_tensors(data: bytes) -> object:
        (scratch / "tensors").write_bytes(data)
        return checkpoint.read_tensors("tensors")

    def read_header(data: bytes) -> object:
        header = data[:4096]
        return read_tensors(struct.pack("<Q", len(header)) + header + bytes(1024))

    packed: dict[str, Any] = {"a": {"$tensor": "a"}, "b": {"$tuple": [1, {"$items": [[1, 2]]}]}}
    packed["c"] = {"$counter": [["x", 3]]}
    header = tensors[8 : 8 + struct.unpack("<Q", tensors[:8])[0]]
    return [
        ("YAML", text, read_yaml, ConfigError),
        ("manifest", (whole / MANIFEST).read_bytes(), read_a_manifest, CheckpointError),
        ("sealed manifest", (whole / MANIFEST).read_bytes(), read_sealed, CheckpointError),
        ("state", json.dumps(packed).encode(), read_state, CheckpointError),
        ("tensors", tensors, read_tensors, CheckpointError),
        ("tensor header", header, read_header, CheckpointError),
    ]
