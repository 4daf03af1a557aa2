"""F15: checkpoints that somebody made to do harm."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
from typing import TYPE_CHECKING, Any

import torch
from benchmarks.faults import runs
from benchmarks.faults.table import Tally
from safetensors.torch import save

from trainer_core.checkpoint.layout import MANIFEST, list_steps, seal_manifest
from trainer_core.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.faults.table import Budget, RowResult

TITLE = "hostile checkpoint: refused, nothing executed, nothing written"


class _Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def run(budget: Budget) -> RowResult:
    """Train on from each hostile folder; its manifest fits, unless that is the trick."""
    runs.train(runs.small_run(steps=2, keep=1), budget.folder / "run")
    whole = list_steps(budget.folder / "run" / "checkpoints")[0][1]
    canary, outside = budget.folder / "canary", budget.folder / "outside.json"
    outside.write_text("{}")
    attacks = list(_attacks(whole, canary, outside))
    tally = Tally("F15", TITLE, len(attacks))
    config = runs.small_run(steps=3)
    for name, attack in attacks:
        folder = budget.folder / "hostile" / whole.name
        shutil.copytree(whole, folder)
        attack(folder)
        problem = "it was loaded"
        try:
            runs.train(config, budget.folder / "new", resume=str(folder))
        except TrainerError:
            problem = ""
        except (Exception, RecursionError) as error:  # noqa: BLE001 - a crash is a finding
            problem = f"it ended with {type(error).__name__}: {error}"
        if canary.exists():
            problem = "IT WAS EXECUTED"
            canary.unlink()
        if outside.read_text() != "{}":
            problem = "it wrote outside of its folder"
        tally.add(problem, name)
        shutil.rmtree(budget.folder / "hostile")
        shutil.rmtree(budget.folder / "new", ignore_errors=True)
    return tally.result("0 executed" if not tally.row.failures else "")


def _attacks(
    whole: Path, canary: Path, outside: Path
) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Yield what is done to a checkpoint, in words and as a function of its folder."""
    files = sorted(p.relative_to(whole).as_posix() for p in whole.rglob("*") if p.is_file())
    read = [name for name in files if name.endswith((".safetensors", "state.json", MANIFEST))]
    yield from _pickles(read, canary)
    yield from _tensor_files([name for name in files if name.endswith(".safetensors")])
    yield from _documents()
    for path in (str(outside), "../outside.json", "a/../../outside.json", "..", ".", "", "a//b"):
        yield f"a file named {path!r}", _listing(path, outside)
    for name in (*read, "."):
        yield f"a link in place of {name}", _linking(name)


def _pickles(names: list[str], canary: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    bomb = _Bomb(canary)
    payloads = {"a pickle": pickle.dumps(bomb), "an old pickle": pickle.dumps(bomb, protocol=0)}
    torch.save({"model": bomb}, canary.with_name("torch.pt"))
    payloads["a torch file"] = canary.with_name("torch.pt").read_bytes()
    for what, data in payloads.items():
        yield f"metadata of DCP with {what}", _only({".metadata": data, "__0_0.distcp": data})
        for name in names:
            yield f"{what} as {name}", _replacing(name, data)
            if name != MANIFEST:
                yield f"{what} as {name}, unsealed", _replacing(name, data, reseal=False)


def _tensor_files(names: list[str]) -> Iterator[tuple[str, Callable[[Path], object]]]:
    for name in names:
        for size in (2**63, 2**64 - 1, 2**40, 10**9, 0):
            yield f"a header of {size} bytes in {name}", _replacing(name, struct.pack("<Q", size))
        for header in _headers():
            text = json.dumps(header).encode()
            data = struct.pack("<Q", len(text)) + text + bytes(64)
            yield f"the header {header} in {name}", _replacing(name, data)
    yield "another model", _replacing("model.model.safetensors", save({"w": torch.zeros(2)}))


def _documents() -> Iterator[tuple[str, Callable[[Path], object]]]:
    texts = {
        "deep nesting": b"[" * 100_000 + b"]" * 100_000,
        "no JSON object": b"[]",
        "a huge number": b'{"step": 1' + b"0" * 5000 + b"}",
    }
    for what, data in texts.items():
        for name in ("state.json", MANIFEST):
            yield f"{what} in {name}", _replacing(name, data)
    for key in ("$tensor", "$items", "$tuple", "$counter"):
        yield f"{key} that fits nothing", _state({"optimizers": {"default": {key: 7}}})
    yield "no counters", _state({"step": None})
    yield "a negative step", _state({"step": -5})
    yield "text for generators", _state({"host_rng": {"python": "x", "numpy": "y"}})
    yield "aliases of strangers", _state({"aliases": {"model": {"x": ["y"]}}})


def _headers() -> list[dict[str, Any]]:
    def tensor(**fields: Any) -> dict[str, Any]:
        return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **fields}}

    return [
        tensor(data_offsets=[0, 2**62]),
        tensor(data_offsets=[8, 0]),
        tensor(data_offsets=[-8, 0]),
        tensor(shape=[2**62, 2**62]),
        tensor(shape=[-2]),
        tensor(dtype="PICKLE"),
        {"__metadata__": {"format": "pt"}},
    ]


def _replacing(name: str, data: bytes, *, reseal: bool = True) -> Callable[[Path], object]:
    def attack(folder: Path) -> None:
        (folder / name).write_bytes(data)
        if reseal and name != MANIFEST:
            _seal(folder)

    return attack


def _only(files: dict[str, bytes]) -> Callable[[Path], object]:
    def attack(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)

    return attack


def _listing(path: str, outside: Path) -> Callable[[Path], object]:
    def attack(folder: Path) -> None:
        _seal(folder, {path: _entry(outside)})

    return attack


def _linking(name: str) -> Callable[[Path], object]:
    def attack(folder: Path) -> None:
        if name == ".":
            moved = folder.rename(folder.with_name("moved"))
            folder.symlink_to(moved)
            return
        target = folder.parent / "target"
        shutil.move(folder / name, target)
        (folder / name).symlink_to(target)

    return attack


def _state(fields: dict[str, Any]) -> Callable[[Path], object]:
    def attack(folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**state, **fields}))
        _seal(folder)

    return attack


def _seal(folder: Path, more: dict[str, Any] | None = None) -> None:
    old = json.loads((folder / MANIFEST).read_text())
    files = {name: _entry(folder / name) for name in old["files"] if (folder / name).exists()}
    fields = {k: v for k, v in old.items() if k not in {"files", "manifest_sha256"}}
    fields.pop("format_version")
    (folder / MANIFEST).write_bytes(seal_manifest(fields, {**files, **(more or {})}))


def _entry(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
