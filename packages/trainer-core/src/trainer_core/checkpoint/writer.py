"""Snapshot -> a checkpoint folder, in an order that no crash can break.

Each file is written and flushed inside a temporary folder, then the folder, then the manifest;
one rename gives it its final name. Only after that `LATEST` moves and old checkpoints may go.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trainer_core.checkpoint.layout import (
    GONE_PREFIX,
    LATEST,
    MANIFEST,
    TEMPORARY_PREFIX,
    list_steps,
    seal_manifest,
    step_name,
)
from trainer_core.checkpoint.tensor_file import write_tensors
from trainer_core.errors import StorageError
from trainer_core.storage import (
    flush_to_disk,
    is_process_alive,
    make_folder,
    storage_errors,
    write_atomically,
    write_new_file,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["Snapshot", "abandon_checkpoint", "begin_checkpoint", "commit_checkpoint", "sweep"]

_FOREIGN_LITTER_S = 24 * 3600


@dataclass(slots=True)
class Snapshot:
    """All that a checkpoint holds.

    Where its tensors are copies (`Shadow.copy`), it can be written while training goes on.

    Attributes:
        step: Optimizer steps done.
        tensors: CPU tensors by name, by file name.
        texts: The other files, by name.
        manifest: Further fields of the manifest.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)


def begin_checkpoint(root: Path, step: int) -> Path:
    """Make the temporary folder of a checkpoint; files put there become part of it.

    Raises:
        StorageError: It cannot be made.
    """
    make_folder(root)
    owner = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder = root / f"{TEMPORARY_PREFIX}{step_name(step)}-{owner}"
    with storage_errors(folder):
        folder.mkdir()
    return folder


def commit_checkpoint(folder: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot into its temporary folder and give that its final name.

    Returns:
        The checkpoint. An existing one of the same step is left as it is: it is immutable.

    Raises:
        StorageError: The disk refuses; the temporary folder is gone, other checkpoints intact.
    """
    root = folder.parent
    final = root / step_name(snapshot.step)
    try:
        with storage_errors(final):
            if final.exists():
                abandon_checkpoint(folder)
                return final
            _write_files(folder, snapshot)
            folder.rename(final)
            flush_to_disk(root)
    except BaseException:
        abandon_checkpoint(folder)
        raise
    with suppress(StorageError):  # a hint: the checkpoint is committed without it
        write_atomically(root / LATEST, f"{final.name}\n")
    return final


def abandon_checkpoint(folder: Path) -> None:
    """Remove a temporary folder, as far as the disk lets us."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(root: Path) -> int:
    """Remove the temporary folders that killed processes left; return how many.

    A folder of a living process, or of another machine within a day, is left alone; a checkpoint
    that was being deleted is not.
    """
    removed = 0
    for entry in sorted(root.glob(f"{TEMPORARY_PREFIX}*")) if root.is_dir() else ():
        if _is_litter(entry):
            abandon_checkpoint(entry)
            removed += 1
    return removed


def _write_files(folder: Path, snapshot: Snapshot) -> None:
    # What hooks put here has not been flushed by anyone yet.
    files = {
        path.relative_to(folder).as_posix(): _flush_and_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    for name, tensors in snapshot.tensors.items():
        files[name] = write_tensors(_new_file(folder, name), tensors)
    for name, text in snapshot.texts.items():
        files[name] = write_new_file(_new_file(folder, name), text.encode())
    for inner in {path.parent for path in folder.rglob("*")} | {folder}:
        flush_to_disk(inner)
    parents = [name for step, name in list_steps(folder.parent) if step < snapshot.step]
    fields = {
        "step": snapshot.step,
        "parent": parents[0].name if parents else None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **snapshot.manifest,
    }
    write_new_file(folder / MANIFEST, seal_manifest(fields, files))
    flush_to_disk(folder)


def _new_file(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    return path


def _flush_and_hash(path: Path) -> dict[str, Any]:
    if path.is_symlink():  # a checkpoint has none: the file itself takes its place
        target = path.resolve()
        path.unlink()
        shutil.copyfile(target, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _host() -> str:
    return "".join(c for c in socket.gethostname() if c.isalnum()) or "host"


def _is_litter(folder: Path) -> bool:
    if folder.name.startswith(GONE_PREFIX):
        return True
    parts = folder.name.rsplit("-", 3)
    with suppress(OSError, ValueError):
        if len(parts) == 4 and parts[1] == _host():
            pid = int(parts[2])
            return pid == os.getpid() or not is_process_alive(pid)
        return time.time() - folder.stat().st_mtime > _FOREIGN_LITTER_S
    return False
