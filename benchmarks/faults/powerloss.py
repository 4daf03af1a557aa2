"""What a power cut may leave of a sequence of disk operations.

Two models, both with files and folders as numbered nodes, so that a renamed folder keeps its files:

- `ordered`: a flush of anything makes all earlier names durable, as ext4's journal does;
- `strict`: only the flush of a folder makes the names in it durable, which is all POSIX promises.

In both, what was written to a file after its last flush may be lost, half there, or zeros; and of
the names that are not durable any one may be missing, or all after some point.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.faults.disk import Operation

__all__ = ["Tree", "crash_states", "materialize", "read_tree", "replay"]

Tree = dict[str, "bytes | None"]
"""Contents by path relative to the root; None: a folder."""

_DATA_MODES = ("whole", "lost", "half", "zeros")


class _Name(NamedTuple):
    """A change of one or two folders: an entry goes, another comes."""

    number: int
    node: int
    old: tuple[int, str] | None
    new: tuple[int, str] | None


class _Write(NamedTuple):
    number: int
    offset: int
    data: bytes | None  # None: truncated to `offset`


class _Disk:
    """The operations up to a crash, resolved to nodes."""

    def __init__(self, root: str, operations: Sequence[Operation]) -> None:
        self.root = root
        self.names: list[_Name] = []
        self.writes: dict[int, list[_Write]] = {}
        self.flushed: dict[int, int] = {}
        self.last_flush = -1
        self.folders = {0}
        self._entries: dict[tuple[int, str], int] = {}
        for number, operation in enumerate(operations):
            self._apply(number, operation)

    def _apply(self, number: int, operation: Operation) -> None:
        kind, place = operation.kind, self._place(operation.path)
        node = 0 if operation.path == self.root else self._entries.get(place, -1)
        if kind in {"mkdir", "create"}:
            node = len(self._entries) + number + 1  # a number that no node had before
            self.folders |= {node} if kind == "mkdir" else set()
            self._change(_Name(number, node, None, place))
        elif kind == "rename":
            self._change(_Name(number, node, place, self._place(operation.target)))
        elif kind in {"unlink", "rmdir"}:
            self._change(_Name(number, node, place, None))
        elif kind == "fsync":
            self.flushed[node] = self.last_flush = number
        else:
            data = operation.data if kind == "write" else None
            self.writes.setdefault(node, []).append(_Write(number, operation.offset, data))

    def _change(self, name: _Name) -> None:
        self.names.append(name)
        _change(self._entries, name)

    def _place(self, path: str) -> tuple[int, str]:
        parts = PurePosixPath(path).relative_to(self.root).parts
        folder = 0
        for part in parts[:-1]:
            folder = self._entries[folder, part]
        return folder, parts[-1] if parts else ""

    def is_durable(self, name: _Name, *, strict: bool) -> bool:
        """Return whether a change of names survives a power cut for certain."""
        if not strict:
            return name.number < self.last_flush
        places = [place for place in (name.old, name.new) if place is not None]
        return any(self.flushed.get(folder, -1) > name.number for folder, _ in places)

    def content(self, node: int, mode: str) -> bytes:
        """Return what a file holds, with its unflushed writes treated as a mode says."""
        content = bytearray()
        flush = self.flushed.get(node, -1)
        for write in self.writes.get(node, ()):
            data = write.data
            if write.number > flush and mode != "whole":
                if mode == "lost":
                    continue
                if data is not None:
                    data = data[: len(data) // 2] if mode == "half" else bytes(len(data))
            if data is None:
                content[write.offset :] = bytes(max(0, write.offset - len(content)))
            else:
                content[len(content) :] = bytes(max(0, write.offset - len(content)))
                content[write.offset : write.offset + len(data)] = data
        return bytes(content)

    def has_unflushed(self, node: int) -> bool:
        """Return whether a file has writes that a power cut may lose."""
        flush = self.flushed.get(node, -1)
        return any(write.number > flush for write in self.writes.get(node, ()))

    def tree(self, names: Sequence[_Name], mode: str) -> Tree:
        """Return the files and folders that certain changes of names make."""
        entries: dict[tuple[int, str], int] = {}
        for name in names:
            _change(entries, name)
        children: dict[int, list[tuple[str, int]]] = {}
        for (folder, entry), node in entries.items():
            children.setdefault(folder, []).append((entry, node))
        found: Tree = {}
        pending = [(entry, node) for entry, node in children.get(0, ())]
        while pending:
            path, node = pending.pop()
            if node in self.folders:
                found[path] = None
                pending += [(f"{path}/{entry}", child) for entry, child in children.get(node, ())]
            else:
                found[path] = self.content(node, mode)
        return found


def _change(entries: dict[tuple[int, str], int], name: _Name) -> None:
    if name.old is not None and entries.get(name.old) == name.node:
        del entries[name.old]
    if name.new is not None:
        entries[name.new] = name.node


def replay(root: str, operations: Sequence[Operation]) -> Tree:
    """Return what is there after all operations."""
    disk = _Disk(root, operations)
    return disk.tree(disk.names, "whole")


def crash_states(root: str, operations: Sequence[Operation]) -> Iterator[Tree]:
    """Yield what a power cut after these operations may leave, in both models."""
    disk = _Disk(root, operations)
    modes = _DATA_MODES if any(map(disk.has_unflushed, disk.writes)) else ("whole",)
    for strict in (False, True):
        pending = [name for name in disk.names if not disk.is_durable(name, strict=strict)]
        lost_sets = [set(pending[count:]) for count in range(len(pending) + 1)]
        lost_sets += [{name} for name in pending]
        for lost in lost_sets:
            names = [name for name in disk.names if name not in lost]
            for mode in modes:
                yield disk.tree(names, mode)


def materialize(tree: Mapping[str, bytes | None], root: Path) -> None:
    """Write a tree into a new folder."""
    root.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        if content is None:
            (root / path).mkdir(parents=True)
        else:
            (root / path).write_bytes(content)


def read_tree(root: Path) -> Tree:
    """Return the tree of a real folder."""
    return {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
    }
