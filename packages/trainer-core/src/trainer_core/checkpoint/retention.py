"""Which checkpoints may go."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from trainer_core.checkpoint.layout import GONE_PREFIX, list_steps

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["prune"]


def prune(
    root: Path, keep_last: int, *, keep_steps: Iterable[int] = (), keep_newest: bool = True
) -> list[int]:
    """Delete all checkpoints but the newest `keep_last`; return the steps that went.

    Called right after a checkpoint was committed, which is the newest and is always kept. A
    folder loses its name before its files, so a crash leaves no half checkpoint.

    Args:
        root: `<out_dir>/checkpoints`.
        keep_last: How many to keep, at least 1.
        keep_steps: Further steps to keep.
        keep_newest: Whether the newest is kept in any case; false where the caller has found out
            which one is whole, and keeps that.
    """
    kept = set(keep_steps)
    gone = []
    for step, folder in list_steps(root)[max(int(keep_newest), keep_last) :]:
        if step in kept or folder.is_symlink():
            continue
        with suppress(OSError):  # what cannot be deleted now is tried again after the next save
            doomed = root / f"{GONE_PREFIX}{folder.name}"
            folder.rename(doomed)
            shutil.rmtree(doomed)
            gone.append(step)
    return gone
