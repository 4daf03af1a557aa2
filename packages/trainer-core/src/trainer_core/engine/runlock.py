"""One run at a time in a run folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from policy_constructor.errors import ConfigError
from trainer_core.errors import StorageError, UserError
from trainer_core.storage import make_folder, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainer_core.ranks import Ranks

__all__ = ["LOCK", "hold_again", "hold_run_folder", "hold_together", "require_folder"]

LOCK = ".lock"
"""Name of the locked file in the run folder."""

_held: dict[Path, int] = {}


def require_folder(out_dir: Path, loaded: Any = None) -> None:
    """Check that a run folder is a folder, or can become one.

    Args:
        out_dir: The run folder.
        loaded: The `LoadedExperiment`, which knows where it was written.

    Raises:
        ConfigError: It or a part of its path is a file.
        UserError: The same, of an experiment put together in Python.
    """
    part = next(path for path in (out_dir, *out_dir.parents) if path.exists())
    if part.is_dir():
        return
    message = f"{part} is a file; a run needs a folder"
    if loaded is None:
        raise UserError(message)
    raise ConfigError(loaded.resolved.problem(("run", "out_dir"), message))


@contextmanager
def hold_together(out_dir: Path, loaded: Any, ranks: Ranks) -> Iterator[None]:
    """Hold a run folder for all ranks of a run: rank 0 has the lock, all hear of a refusal.

    Raises:
        ConfigError: It is no folder.
        UserError: Another run is in it.
        StorageError: It cannot be written.
    """
    with ExitStack() as held:

        def hold() -> None:
            require_folder(out_dir, loaded)
            held.enter_context(hold_run_folder(out_dir))

        ranks.on_main(hold)
        yield


@contextmanager
def hold_run_folder(out_dir: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the system lets go when this process ends, however.

    Forked loader processes do not inherit the lock, so that they cannot outlive it. A file system
    without locks goes unguarded.

    Raises:
        UserError: Another run is in it; the message names its machine and process.
        StorageError: The folder cannot be written.
    """
    make_folder(out_dir)
    path = out_dir.resolve() / LOCK
    if path in _held:  # not opened again: closing it would give the lock away
        raise UserError(_refusal(out_dir, f"this process ({os.getpid()})"))
    _held[path] = _acquire(out_dir, path)
    try:
        yield
    finally:
        descriptor = _held.pop(path)
        if _is_at(path, descriptor):
            with suppress(OSError):
                path.unlink()
        os.close(descriptor)


def hold_again(out_dir: Path) -> bool:
    """Make a run folder anew, and hold it, if it was removed while this process held it.

    Returns:
        Whether the lock had gone.

    Raises:
        StorageError: It cannot be made, or another run is in its place by now.
    """
    path = out_dir.resolve() / LOCK
    if path not in _held or _is_at(path, _held[path]):
        return False
    make_folder(out_dir)
    try:
        descriptor = _acquire(out_dir, path)
    except UserError as exc:
        msg = f"cannot write {out_dir}: it was removed during the run; now {exc}"
        raise StorageError(msg) from exc
    os.close(_held[path])
    _held[path] = descriptor
    return True


def _acquire(out_dir: Path, path: Path) -> int:
    with storage_errors(path):
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                os.close(descriptor)
                raise UserError(_refusal(out_dir, _owner(path))) from None
            except OSError:  # a file system without locks
                return descriptor
            if _is_at(path, descriptor):
                break
            os.close(descriptor)  # the run before removed the file in between
        owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
        os.ftruncate(descriptor, 0)
        os.write(descriptor, owner.encode())
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _owner(path: Path) -> str:
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(path.read_bytes())
        return f"process {found['pid']} on {found['host']}"
    return "another run"


def _refusal(out_dir: Path, owner: str) -> str:
    return f"{out_dir} is in use by {owner}; wait for it, or give this run another run.out_dir"
