"""One process builds, the others wait: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["build_lock"]

_POLL_S = 0.1
_SAY_AFTER_S = 2.0
_log = logging.getLogger(__name__)


@contextmanager
def build_lock(folder: Path) -> Iterator[None]:
    """Hold a folder's lock for the length of a block; wait while another process has it.

    Where the file system has no locks the block runs without: both then build, and the first to
    finish is the one that counts.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            _wait(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, folder: Path) -> None:
    began, is_said = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_said and time.monotonic() - began > _SAY_AFTER_S:
                is_said = True
                _log.warning("waiting for another process that builds in %s", folder)
            time.sleep(_POLL_S)
        else:
            return
