"""Arrays on disk, memory-mapped: each group built whole or not at all, rebuilt when stale."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from experiments_il.data.build_lock import build_lock
from trainer_core.errors import StorageError
from trainer_core.storage import flush_to_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["ArrayCache", "ArrayGroup", "ArraySpec", "Build", "Fill"]

ArraySpec: TypeAlias = "tuple[str, tuple[int, ...]]"
"""dtype and shape of an array."""
Fill: TypeAlias = "Callable[[Mapping[str, NDArray[Any]]], dict[str, Any]]"
"""Writes the values into empty arrays and returns JSON data to keep beside them."""

Build: TypeAlias = "Callable[[Path], tuple[dict[str, str], dict[str, Any]]]"
"""Writes files into a folder; returns the file of each array and JSON data to keep beside them."""

Fits: TypeAlias = "Callable[[Mapping[str, NDArray[Any]]], bool]"
"""Whether arrays that were found are those that are asked for."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
CACHE_FOLDER = ".cache-trainer"
_INDEX = "index.json"
_log = logging.getLogger(__name__)


@dataclass
class ArrayGroup:
    """Arrays that were built together, read-only.

    Attributes:
        folder: Where they are; None if they are in memory.
        extra: What the builder kept beside them.
        arrays: By name; memory-mapped unless `folder` is None.
    """

    folder: Path | None
    extra: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave mapped arrays to be mapped again by the process that receives this."""
        return {**self.__dict__, "arrays": {} if self.folder else self.arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the arrays again."""
        self.__dict__.update(state)
        if self.folder:
            self.arrays = _map_arrays(self.folder, _read_index(self.folder)["arrays"])


class ArrayCache:
    """Finds, builds and opens groups of arrays that are derived from a source.

    A group is built under a temporary name by one process at a time and appears by a rename; what
    a killed builder left is removed by the next one.

    Args:
        source: The folder or the file that the arrays are made from.
        fingerprint: Any JSON data that changes when the arrays must be made again.
        folder: Where to keep them. By default `.cache-trainer` in the source (beside it, if there
            is a variant), else the user's cache folder, else memory: the first that can be written.
        variant: Keeps the arrays apart from those that other options make of the same source.
            Needed where the source is a file.
        in_memory: Write nothing: arrays are built in the memory of each process.
    """

    def __init__(
        self,
        source: Path,
        fingerprint: Any,
        folder: Path | None = None,
        variant: str = "",
        *,
        in_memory: bool = False,
    ) -> None:
        self.written: list[Path] = []
        self._key = _hash(json.dumps(fingerprint, sort_keys=True))
        name = _hash(str(source.resolve()) + (f"\n{variant}" if variant else ""))
        self._is_chosen = folder is not None
        self._is_asked = in_memory
        if in_memory:
            self._homes = []
        elif folder is not None:
            self._homes = [folder / f"{source.name}-{name}"]
        else:
            own = f"{source.name}-{name}"
            near = source.parent / CACHE_FOLDER / own if variant else source / CACHE_FOLDER
            self._homes = [near, _user_cache() / own]

    def space(self) -> tuple[Path, int] | None:
        """Return the folder that groups would be built in and the bytes free; None for memory."""
        for home in self._homes:
            there = next(each for each in (home, *home.parents) if each.exists())
            if there.is_dir() and os.access(there, os.W_OK):
                return home, shutil.disk_usage(there).free
        return None

    def has(self, group: str, identity: Any = None) -> bool:
        """Return whether a group is there and was built for the same identity."""
        folders = (home / self._key / group for home in self._homes)
        return any(
            (folder / _INDEX).is_file() and _is_of(folder, _identity(identity))
            for folder in folders
        )

    def open(
        self,
        group: str,
        specs: Mapping[str, ArraySpec],
        fill: Fill,
        identity: Any = None,
        *,
        is_large: bool = False,
    ) -> ArrayGroup:
        """Return a group, building it first if there is none that fits.

        Args:
            group: Its name.
            specs: The arrays, by name.
            fill: Writes their values.
            identity: JSON data that changes when this group alone must be made again.
            is_large: Whether a full disk is an error, rather than a reason to use memory.

        Raises:
            StorageError: The folder was chosen by the caller and cannot be written, or the disk is
                full.
        """

        def build(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
            files = {name: f"{number:03d}.npy" for number, name in enumerate(specs)}
            arrays = {name: _create_array(folder / files[name], specs[name]) for name in specs}
            return files, fill(arrays)

        def fits(arrays: Mapping[str, NDArray[Any]]) -> bool:
            found = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
            return found == {name: (dtype, tuple(shape)) for name, (dtype, shape) in specs.items()}

        group_of = self._find_or_build(group, build, fits, _identity(identity), is_large)
        if group_of is not None:
            return group_of
        if not self._is_asked:
            _log.warning("no folder for the columns can be written: they stay in memory")
        return self.in_memory(specs, fill)

    def in_memory(self, specs: Mapping[str, ArraySpec], fill: Fill) -> ArrayGroup:
        """Return a group that is built in the memory of this process."""
        arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in specs.items()}
        extra = fill(arrays)
        return ArrayGroup(None, extra, arrays)

    def open_files(self, group: str, build: Build, fits: Fits, identity: Any = None) -> ArrayGroup:
        """Return a group of files whose sizes are known only when they are written.

        Args:
            group: Its name.
            build: Writes the files: `.npy`, or raw bytes in `.bin`.
            fits: Whether arrays that were found are whole.
            identity: As for `open`.

        Raises:
            StorageError: No folder can be written.
        """
        found = self._find_or_build(group, build, fits, _identity(identity), is_large=True)
        if found is None:
            message = f"cache: no folder can be written for {group}; choose one with cache_dir"
            raise StorageError(message)
        return found

    def _find_or_build(
        self, group: str, build: Build, fits: Fits, identity: str, is_large: bool
    ) -> ArrayGroup | None:
        for home in self._homes:
            found = _open_group(home / self._key / group, fits, identity)
            if found is not None:
                return found
        for home in self._homes:
            try:
                return self._build(home, group, build, fits, identity)
            except OSError as exc:
                if exc.errno in _FULL and is_large:
                    free = _megabytes(_free_bytes(home))
                    message = f"cache: no space left for {group} in {home} ({free} are free); "
                    message += "choose another cache_dir, or cache: low_dim or none"
                    raise StorageError(message) from exc
                if self._is_chosen:
                    message = f"cache_dir: cannot write {home}: {exc.strerror or exc}"
                    raise StorageError(message) from exc
                _log.info("cannot keep the columns in %s: %s", home, exc)
        return None

    def _build(self, home: Path, group: str, build: Build, fits: Fits, identity: str) -> ArrayGroup:
        final = home / self._key / group
        final.parent.mkdir(parents=True, exist_ok=True)
        with build_lock(home):
            found = _open_group(final, fits, identity)  # another process may have been faster
            if found is not None:
                return found
            _remove_stale(home, self._key, group)
            final.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{group}-", dir=final.parent))
            try:
                files, extra = build(staging)
                for name in files.values():
                    flush_to_disk(staging / name)
                index = {"arrays": files, "extra": extra, "identity": identity}
                (staging / _INDEX).write_text(json.dumps(index))
                flush_to_disk(staging / _INDEX)
                _move_into_place(staging, final)
                self.written.append(final)
                flush_to_disk(final.parent)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        found = _open_group(final, fits, identity)
        if found is None:
            message = f"{final} cannot be read back"
            raise OSError(message)
        return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _identity(data: Any) -> str:
    return "" if data is None else _hash(json.dumps(data, sort_keys=True))


def _free_bytes(home: Path) -> int:
    with suppress(OSError):
        return shutil.disk_usage(home).free
    return 0


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "experiments-il"


def _create_array(path: Path, spec: ArraySpec) -> NDArray[Any]:
    dtype, shape = spec
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk must be an error, not a SIGBUS on a page
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _move_into_place(staging: Path, final: Path) -> None:
    """Rename the finished group; another process may have been faster with the same content."""
    if final.is_dir() and not (final / _INDEX).is_file():
        shutil.rmtree(final, ignore_errors=True)
    try:
        staging.rename(final)
    except OSError:
        if not (final / _INDEX).is_file():
            raise


def _remove_stale(home: Path, key: str, group: str) -> None:
    """Remove what other fingerprints made, and what a killed builder of this group left."""
    old = [folder for folder in home.iterdir() if folder.name != key and folder.is_dir()]
    for folder in (*old, *(home / key).glob(f".{group}-????????")):
        shutil.rmtree(folder, ignore_errors=True)


def _read_index(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / _INDEX).read_bytes())
    return document if isinstance(document, dict) else {}


def _map_arrays(folder: Path, files: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Map each file as a plain array: indexing a `memmap` object costs more than the copy."""
    return {name: np.asarray(_map_file(folder / file)) for name, file in files.items()}


def _map_file(path: Path) -> NDArray[Any]:
    if path.suffix == ".bin":
        return np.memmap(path, np.uint8, mode="r")
    return np.lib.format.open_memmap(path, mode="r")


def _is_of(folder: Path, identity: str) -> bool:
    try:
        return bool(_read_index(folder).get("identity", "") == identity)
    except (OSError, ValueError):
        return False


def _open_group(folder: Path, fits: Fits, identity: str) -> ArrayGroup | None:
    """Return the group in a folder, or None (and no folder) if it is not what was asked for."""
    if not folder.is_dir():
        return None
    try:
        index = _read_index(folder)
        arrays = _map_arrays(folder, index["arrays"])
        if index.get("identity", "") == identity and fits(arrays):
            return ArrayGroup(folder, index["extra"], arrays)
    except (OSError, ValueError, KeyError, TypeError):
        _log.info("the columns in %s are damaged and are built again", folder)
    shutil.rmtree(folder, ignore_errors=True)
    return None
