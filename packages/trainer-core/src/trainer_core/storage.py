"""Files that are whole or absent, and one error for a disk that refuses."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from trainer_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = [
    "flush_to_disk",
    "is_process_alive",
    "make_folder",
    "read_json_mapping",
    "storage_errors",
    "temporary_folder",
    "to_json_text",
    "write_atomically",
    "write_new_file",
    "write_parts",
]


def temporary_folder(final: Path) -> Path:
    """Make a hidden folder beside `final`, to be filled and renamed; sweep those of killed writers.

    Raises:
        OSError: It cannot be made.
    """
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    prefix = f".{final.name}.{host}+"
    for other in final.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        pid = other.name.removeprefix(prefix).partition("+")[0]
        if other.is_dir() and pid.isdigit() and not is_process_alive(int(pid)):
            shutil.rmtree(other, ignore_errors=True)
    folder = final.with_name(f"{prefix}{os.getpid()}+{uuid.uuid4().hex[:8]}.tmp")
    folder.mkdir()
    return folder


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that names the file and the reason."""
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        msg = f"cannot write {path}: {reason}"
        raise StorageError(msg) from exc


def make_folder(path: Path) -> Path:
    """Make a folder and its parents, so that a power cut does not undo it.

    Raises:
        StorageError: It cannot be made.
    """
    with storage_errors(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            with suppress(PermissionError):  # a parent that may be entered and not listed
                flush_to_disk(folder.parent)
    return path


def write_new_file(path: Path, data: bytes | memoryview) -> dict[str, Any]:
    """Write a file that is not there yet and flush it to disk; return its size and sha256."""
    return write_parts(path, [data])


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Do the same for a file in parts, each hashed as it is written."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for part in parts:
            file.write(part)
            digest.update(part)
            size += len(part)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}


def read_json_mapping(path: Path) -> dict[str, Any]:
    """Return a file's mapping; an empty one where there is no such file or another thing in it."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            return content
    return {}


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one move; an equal one is left untouched.

    Raises:
        StorageError: It cannot be written; an older file is intact. A folder or device is none.
    """
    data = text.encode()
    with storage_errors(path):
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is not a file")
        if path.is_file() and path.read_bytes() == data:
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def is_process_alive(pid: int) -> bool:
    """Return whether a process of this machine runs, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def to_json_text(data: Any) -> str:
    """Return indented JSON with a final newline."""
    return json.dumps(data, indent=2) + "\n"
