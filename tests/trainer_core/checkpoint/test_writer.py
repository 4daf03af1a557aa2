from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

from trainer_core.checkpoint import writer
from trainer_core.checkpoint.reader import open_checkpoint
from trainer_core.checkpoint.writer import (
    Snapshot,
    abandon_checkpoint,
    begin_checkpoint,
    commit_checkpoint,
    sweep,
)
from trainer_core.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path


def save(root: Path, step: int, value: float = 1.0) -> Path:
    snapshot = Snapshot(
        step=step,
        tensors={"model.net.safetensors": {"w": torch.full((3,), value)}},
        texts={"state.json": json.dumps({"step": step}), "plugins/a.json": "{}"},
        manifest={"world_size": 1},
    )
    return commit_checkpoint(begin_checkpoint(root, step), snapshot)


def test_checkpoint_holds_every_file_and_its_hash(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(save(tmp_path, 7))
    assert (checkpoint.step, checkpoint.manifest["world_size"]) == (7, 1)
    assert checkpoint.names("") == ["model.net.safetensors", "plugins/a.json", "state.json"]
    assert torch.equal(checkpoint.read_tensors("model.net.safetensors")["w"], torch.ones(3))
    assert (tmp_path / "LATEST").read_text() == "step-000000007\n"


def test_manifest_names_the_checkpoint_before(tmp_path: Path) -> None:
    save(tmp_path, 3)
    assert open_checkpoint(save(tmp_path, 7)).manifest["parent"] == "step-000000003"


def test_files_of_hooks_are_covered_by_the_manifest(tmp_path: Path) -> None:
    folder = begin_checkpoint(tmp_path, 1)
    (folder / "extra").mkdir()
    (folder / "extra" / "notes.txt").write_text("x")
    checkpoint = open_checkpoint(commit_checkpoint(folder, Snapshot(step=1)))
    assert checkpoint.has("extra/notes.txt")


def test_existing_checkpoint_is_never_changed(tmp_path: Path) -> None:
    first = save(tmp_path, 7, value=1.0)
    before = {path: path.read_bytes() for path in first.iterdir() if path.is_file()}
    assert save(tmp_path, 7, value=2.0) == first
    assert before == {path: path.read_bytes() for path in first.iterdir() if path.is_file()}
    assert not list(tmp_path.glob(".tmp-*"))


FAILURES = [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT]


@pytest.mark.parametrize("number", FAILURES, ids=[errno.errorcode[n] for n in FAILURES])
@pytest.mark.parametrize("operation", ["write_new_file", "flush_to_disk", "seal_manifest"])
def test_refusing_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, operation: str
) -> None:
    save(tmp_path, 3)

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writer, operation, refuse)
    with pytest.raises(StorageError) as caught:
        save(tmp_path, 7)
    assert str(caught.value) == f"cannot write {tmp_path}/step-000000007: {os.strerror(number)}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "step-000000003"]
    assert open_checkpoint(tmp_path / "step-000000003").step == 3


def test_refused_hint_does_not_undo_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "LATEST").mkdir()
    assert open_checkpoint(save(tmp_path, 3)).step == 3


def test_abandoned_folder_is_gone(tmp_path: Path) -> None:
    abandon_checkpoint(begin_checkpoint(tmp_path, 1))
    assert not list(tmp_path.iterdir())


def test_sweep_removes_the_litter_of_the_dead_only(tmp_path: Path) -> None:
    host = writer._host()
    dead = tmp_path / f".tmp-step-000000001-{host}-999999999-abcd"
    alive = tmp_path / f".tmp-step-000000001-{host}-{os.getppid()}-abcd"
    foreign = tmp_path / ".tmp-step-000000001-elsewhere-1-abcd"
    old = tmp_path / ".tmp-gone-step-000000001"
    for folder in (dead, alive, foreign, old):
        folder.mkdir()
    save(tmp_path, 2)
    assert sweep(tmp_path) == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {alive.name, foreign.name, "step-000000002", "LATEST"}
