"""Processes of a run that tests wait for and kill."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

LIMIT_S = 150


def wait_for(condition: Any) -> Any:
    """Return what a condition returns, once it is true."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def main_worker(run: Path) -> int | None:
    """Return the process that has a file of this run open: rank 0."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and entry.name != str(os.getpid()):
            with suppress(OSError):
                files = {str(file.readlink()) for file in (entry / "fd").iterdir()}
                if any(file.startswith(str(run)) for file in files):
                    return int(entry.name)
    return None
