from __future__ import annotations

import json
import logging
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from trainer_core.checkpoint.layout import seal_manifest, step_name
from trainer_core.checkpoint.reader import find_checkpoint, newest_valid, open_checkpoint
from trainer_core.checkpoint.writer import Snapshot, begin_checkpoint, commit_checkpoint
from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Checkpoints of the steps 3 and 7."""
    for step in (3, 7):
        tensors = {"model.net.safetensors": {"w": torch.arange(64.0)}}
        snapshot = Snapshot(step=step, tensors=tensors, texts={"state.json": "{}"})
        commit_checkpoint(begin_checkpoint(tmp_path / "checkpoints", step), snapshot)
    return tmp_path / "checkpoints"


def flip_bit(folder: Path) -> None:
    file = folder / "model.net.safetensors"
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)


def truncate(folder: Path) -> None:
    file = folder / "model.net.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


def swap_files(folder: Path) -> None:
    (folder / "state.json").rename(folder / "x")
    (folder / "model.net.safetensors").rename(folder / "state.json")
    (folder / "x").rename(folder / "model.net.safetensors")


def link_file(folder: Path) -> None:
    target = folder.parent / "elsewhere"
    (folder / "state.json").rename(target)
    (folder / "state.json").symlink_to(target)


def folder_for_file(folder: Path) -> None:
    (folder / "state.json").unlink()
    (folder / "state.json").mkdir()


def forge_manifest(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    files = manifest["files"] | {name: manifest["files"]["state.json"]}
    (folder / "MANIFEST.json").write_bytes(seal_manifest({"step": 7}, files))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped bit": (flip_bit, "model.net.safetensors is corrupt: its sha256 is not the one in"),
    "truncated": (truncate, "bytes, its manifest says "),
    "swapped": (swap_files, "bytes, its manifest says "),
    "missing file": (lambda f: (f / "state.json").unlink(), "state.json is missing"),
    "missing manifest": (lambda f: (f / "MANIFEST.json").unlink(), "MANIFEST.json is missing"),
    "manifest cut": (
        lambda f: (f / "MANIFEST.json").write_text("{"),
        "MANIFEST.json is not JSON",
    ),
    "manifest of another kind": (
        lambda f: (f / "MANIFEST.json").write_text("[]"),
        "MANIFEST.json is not a manifest",
    ),
    "manifest edited": (
        lambda f: (f / "MANIFEST.json").write_text(
            (f / "MANIFEST.json").read_text().replace('"step": 7', '"step": 8')
        ),
        "MANIFEST.json was changed after it was written",
    ),
    "newer format": (
        lambda f: (f / "MANIFEST.json").write_text('{"files": {}, "format_version": 99}'),
        "MANIFEST.json has format 99; this version of trainer-core reads 1",
    ),
    "link": (link_file, "state.json is a symbolic link, which a checkpoint must not have"),
    "path that leaves": (
        lambda f: forge_manifest(f, "../state.json"),
        "lists a file with the unsafe name '../state.json'",
    ),
    "absolute path": (
        lambda f: forge_manifest(f, "/etc/passwd"),
        "lists a file with the unsafe name '/etc/passwd'",
    ),
    "folder for a file": (
        folder_for_file,
        "state.json is not a file",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_named(root: Path, kind: str) -> None:
    damage, message = DAMAGE[kind]
    damage(root / step_name(7))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(root / step_name(7))
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_newest_is_set_aside_for_the_one_before(
    root: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    DAMAGE[kind][0](root / step_name(7))
    with caplog.at_level(logging.WARNING):
        checkpoint = newest_valid(root)
    assert checkpoint is not None
    assert checkpoint.step == 3
    assert (root / "quarantine" / step_name(7)).is_dir()
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("checkpoint not used, moved to ")


def test_linked_checkpoint_folder_is_refused(root: Path) -> None:
    outside = root.parent / "outside"
    (root / step_name(7)).rename(outside)
    (root / step_name(7)).symlink_to(outside)
    with pytest.raises(CheckpointError, match="is a symbolic link"):
        open_checkpoint(root / step_name(7))


def test_pickles_are_never_executed(root: Path, tmp_path: Path) -> None:
    class Exploit:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    poison = pickle.dumps(Exploit())
    folder = begin_checkpoint(root, 9)
    for name in ("model.net.safetensors", "state.json"):
        (folder / name).write_bytes(poison)
    checkpoint = open_checkpoint(commit_checkpoint(folder, Snapshot(step=9)))
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        checkpoint.read_tensors("model.net.safetensors")
    with pytest.raises(CheckpointError, match="is not JSON"):
        checkpoint.read_json("state.json")
    assert not (tmp_path / "executed").exists()


def test_file_that_is_not_listed_is_not_read(root: Path) -> None:
    (root / step_name(7) / "more.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"has no more.json"):
        open_checkpoint(root / step_name(7)).read_json("more.json")


def test_second_quarantine_keeps_the_first(root: Path) -> None:
    shutil.copytree(root / step_name(7), root / "quarantine" / step_name(7))
    flip_bit(root / step_name(7))
    newest_valid(root)
    assert (root / "quarantine" / f"{step_name(7)}.2").is_dir()


@pytest.mark.parametrize(
    ("resume", "step"), [("auto", 7), (3, 3), ("3", 3), ("none", None), ("path", 3), ("run", 7)]
)
def test_resume_means_one_checkpoint(root: Path, resume: str | int, step: int | None) -> None:
    paths: dict[str | int, str] = {"path": str(root / step_name(3)), "run": str(root.parent)}
    found = find_checkpoint(root, paths.get(resume, resume))
    assert (found.step if found else None) == step


def test_missing_step_lists_those_that_exist(root: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(root, 5)
    assert (
        str(caught.value) == f"there is no checkpoint {root}/step-000000005; there are steps 3, 7"
    )


def test_asked_for_checkpoint_must_be_whole(root: Path) -> None:
    flip_bit(root / step_name(7))
    with pytest.raises(CheckpointError, match="is corrupt"):
        find_checkpoint(root, 7)
    assert (root / step_name(7)).is_dir()


def test_path_without_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is neither a checkpoint nor a run with one"):
        find_checkpoint(tmp_path, str(tmp_path))


def test_no_checkpoint_means_the_beginning(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "checkpoints", "auto") is None


def test_checkpoint_of_a_newer_format_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "checkpoints"
    with monkeypatch.context() as newer:
        newer.setattr("trainer_core.checkpoint.layout.FORMAT_VERSION", 2)
        folder = commit_checkpoint(begin_checkpoint(root, 5), Snapshot(step=5))
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(root, "auto")
    assert str(caught.value) == (
        f"{folder}/MANIFEST.json was written by a newer trainer-core (format 2; this one reads "
        "1): upgrade trainer-core to use it"
    )
    assert folder.is_dir()
