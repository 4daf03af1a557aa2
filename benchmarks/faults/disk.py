"""A shim between Python and the disk: it sees every change below a folder, and may prevent it.

It stands where Python calls the system: `open`, and the functions of `os` that change files. What
native code writes by itself is not seen; `powerloss.replay` of all operations would then differ
from the folder, which F2 checks before it believes anything.
"""

from __future__ import annotations

import builtins
import io
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Operation", "cut_off", "watch_disk"]

_LINKS = ("link", "symlink")


class Operation(NamedTuple):
    """One change of the disk.

    Attributes:
        kind: mkdir, create, truncate, write, fsync, rename, unlink or rmdir.
        path: What is changed, absolute.
        target: The new name, of a rename.
        offset: Where a write begins; the size after a truncate.
        data: What is written.
    """

    kind: str
    path: str
    target: str = ""
    offset: int = 0
    data: bytes = b""


@contextmanager
def watch_disk(root: Path, before: Callable[[Operation], int | None]) -> Iterator[None]:
    """Call a function before each change below a folder.

    Args:
        root: The folder.
        before: May raise `OSError`, which the program then sees; of a write it may return how
            many bytes are written, as a nearly full disk does.
    """
    shim = _Shim(os.path.realpath(root), before)
    patches: list[tuple[Any, str, Any]] = [(builtins, "open", shim.open), (io, "open", shim.open)]
    patches.append((os, "open", shim.open_descriptor))
    patches += [(os, name, getattr(shim, name)) for name in _Shim.PATCHED]
    patches += [(os, name, shim.refuse) for name in _LINKS]
    saved = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    for owner, name, function in patches:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in saved:
            setattr(owner, name, function)


def cut_off(number: int, end: Callable[[], None]) -> Callable[[Operation], int | None]:
    """Return what ends a program before its n-th change, in the middle of it if it is a write.

    Args:
        number: Changes that are made as a whole.
        end: Does not return: it kills the process, or raises.
    """
    count = 0

    def strike(operation: Operation) -> int | None:
        nonlocal count
        count += 1
        if count == number + 1 and operation.kind == "write" and len(operation.data) > 1:
            return len(operation.data) // 2
        if count > number:
            end()
        return None

    return strike


class _Raw(io.FileIO):
    """A file whose writes are seen."""

    shim: _Shim

    def write(self, data: Any, /) -> int:
        count = self.shim.before_write(self.fileno(), bytes(data))
        return super().write(memoryview(data)[:count])

    def truncate(self, size: int | None = None, /) -> int:
        self.shim.tell("truncate", self.fileno(), offset=self.tell() if size is None else size)
        return super().truncate(size)


class _Shim:
    PATCHED = (
        *("write", "pwrite", "ftruncate", "posix_fallocate"),
        *("fsync", "fdatasync", "mkdir", "rename", "replace", "unlink", "remove", "rmdir"),
    )

    def __init__(self, root: str, before: Callable[[Operation], int | None]) -> None:
        self.root = root
        self.before = before
        self.lock = threading.RLock()
        self.real_open = io.open
        self.real = {name: getattr(os, name) for name in (*self.PATCHED, "open", "lseek")}

    def tell(
        self,
        kind: str,
        place: Any,
        folder: int | None = None,
        *,
        target: str = "",
        offset: int = 0,
        data: bytes = b"",
    ) -> int | None:
        """Report a change if it lies below the root."""
        path = self.absolute(place, folder)
        if not f"{path}/".startswith(f"{self.root}/"):
            return None
        with self.lock:
            return self.before(Operation(kind, path, target, offset, data))

    def absolute(self, place: Any, folder: int | None = None) -> str:
        """Return the path of a name, of a name in an open folder, or of a descriptor."""
        if isinstance(place, int):
            return os.readlink(f"/proc/self/fd/{place}")
        parent = os.getcwd() if folder is None else os.readlink(f"/proc/self/fd/{folder}")
        return os.path.normpath(os.path.join(parent, os.fsdecode(place)))

    def before_write(self, descriptor: int, data: bytes, offset: int | None = None) -> int:
        """Report a write; return how many bytes of it may be written."""
        if offset is None:
            offset = self.real["lseek"](descriptor, 0, os.SEEK_CUR)
        allowed = self.tell("write", descriptor, offset=offset, data=data)
        return len(data) if allowed is None else min(allowed, len(data))

    def open(self, file: Any, mode: str = "r", buffering: int = -1, *text: Any, **more: Any) -> Any:
        """Open a file as `io.open` does, with its writes seen."""
        is_path = isinstance(file, str | bytes | os.PathLike)
        if not is_path or not set(mode) & set("wax+"):
            return self.real_open(file, mode, buffering, *text, **more)
        path = self.absolute(file)
        if not path.startswith(f"{self.root}/"):
            return self.real_open(file, mode, buffering, *text, **more)
        is_there = os.path.exists(path)
        if not is_there:
            self.tell("create", path)
        elif "w" in mode:
            self.tell("truncate", path)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""))
        raw.shim = self
        if buffering == 0:
            return raw
        buffer: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffer
        settings = dict(zip(("encoding", "errors", "newline"), text, strict=False)) | more
        wrapper = io.TextIOWrapper(buffer, line_buffering=buffering == 1, **settings)
        wrapper.mode = mode  # type: ignore[misc] # as `open` sets it
        return wrapper

    def open_descriptor(self, path: Any, flags: int, *rest: Any, **more: Any) -> int:
        folder = more.get("dir_fd")
        is_there = os.path.lexists(self.absolute(path, folder))
        if flags & os.O_CREAT and not is_there:
            self.tell("create", path, folder)
        elif flags & os.O_TRUNC and is_there:
            self.tell("truncate", path, folder)
        descriptor: int = self.real["open"](path, flags, *rest, **more)
        return descriptor

    def write(self, descriptor: int, data: Any) -> int:
        count = self.before_write(descriptor, bytes(data))
        written: int = self.real["write"](descriptor, memoryview(data)[:count])
        return written

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        count = self.before_write(descriptor, bytes(data), offset)
        written: int = self.real["pwrite"](descriptor, memoryview(data)[:count], offset)
        return written

    def ftruncate(self, descriptor: int, length: int) -> None:
        self.tell("truncate", descriptor, offset=length)
        self.real["ftruncate"](descriptor, length)

    def posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
        self.tell("truncate", descriptor, offset=offset + length)
        self.real["posix_fallocate"](descriptor, offset, length)

    def fsync(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        self.tell("fsync", number)
        self.real["fsync"](number)

    fdatasync = fsync

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if not os.path.lexists(self.absolute(path, dir_fd)):
            self.tell("mkdir", path, dir_fd)
        self.real["mkdir"](path, mode, dir_fd=dir_fd)

    def rename(self, src: Any, dst: Any, **folders: Any) -> None:
        target = self.absolute(dst, folders.get("dst_dir_fd"))
        self.tell("rename", src, folders.get("src_dir_fd"), target=target)
        self.real["rename"](src, dst, **folders)

    replace = rename

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        if os.path.lexists(self.absolute(path, dir_fd)):
            self.tell("unlink", path, dir_fd)
        self.real["unlink"](path, dir_fd=dir_fd)

    remove = unlink

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self.tell("rmdir", path, dir_fd)
        self.real["rmdir"](path, dir_fd=dir_fd)

    def refuse(self, *arguments: Any, **more: Any) -> None:
        """Refuse what the model of the disk does not know."""
        msg = f"links are not modelled: {arguments}"
        raise NotImplementedError(msg)
