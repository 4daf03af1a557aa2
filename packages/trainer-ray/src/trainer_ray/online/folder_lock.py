"""One process at a time in the folder of a replay buffer."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from trainer_core.errors import UserError
from trainer_core.storage import storage_errors

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LOCK", "hold_folder"]

LOCK = ".lock"
"""Name of the locked file."""

_PAUSE_S = 0.05


def hold_folder(folder: Path, patience_s: float) -> int:
    """Keep other processes out of a folder until the descriptor is closed or this one ends.

    Args:
        folder: Is there already. A file system without locks goes unguarded.
        patience_s: How long to wait for a process that is about to end.

    Returns:
        The descriptor that holds the lock.

    Raises:
        UserError: Another process has it; the message names its machine and number.
        StorageError: The folder cannot be written.
    """
    path = folder / LOCK
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + patience_s
    while not _take(descriptor):
        if time.monotonic() >= deadline:
            os.close(descriptor)
            msg = f"the replay buffer in {folder} is in use by {_owner(path)}"
            raise UserError(msg)
        time.sleep(_PAUSE_S)
    owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner.encode(), 0)
    except OSError:  # a full disk: the lock is held all the same
        return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _owner(path: Path) -> str:
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(path.read_bytes())
        return f"process {found['pid']} on {found['host']}"
    return "another process"
