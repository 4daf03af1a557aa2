"""Files that survive a crash: written aside, flushed to the disk, renamed into their place."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from trainer_core.errors import DatasetError
from trainer_core.storage import flush_to_disk, is_process_alive

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["claim_staging", "is_unused", "move_into_place"]

_PREFIX = ".writing-"


def claim_staging(folder: Path, prefix: str = _PREFIX) -> Path:
    """Make this process's staging folder in `folder`; sweep those of processes that are gone.

    Args:
        folder: On the same disk as the final place, so that files can be renamed into it.
        prefix: What the names of staging folders for this purpose begin with.

    Raises:
        DatasetError: Another process is at work with the same purpose.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.glob(f"{prefix}*"):
        pid = other.name.removeprefix(prefix)
        if pid.isdigit() and is_process_alive(int(pid)):
            message = f"{other}: process {pid} is writing this data set"
            raise DatasetError(message)
        shutil.rmtree(other, ignore_errors=True)
    staging = folder / f"{prefix}{os.getpid()}"
    staging.mkdir()
    return staging


def is_unused(root: Path) -> bool:
    """Return whether `root` is not there, or holds nothing but what a killed writer left."""
    if not root.exists():
        return True
    return root.is_dir() and all(entry.name.startswith(_PREFIX) for entry in root.iterdir())


def move_into_place(staged: Path, final: Path) -> None:
    """Give a finished file its name: readers see the old file or the new one, never a part."""
    final.parent.mkdir(parents=True, exist_ok=True)
    flush_to_disk(staged)
    os.replace(staged, final)  # noqa: PTH105 - one call, whatever the kind of path
    flush_to_disk(final.parent)
