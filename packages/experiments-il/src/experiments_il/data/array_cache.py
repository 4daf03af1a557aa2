"""Arrays on disk, memory-mapped: each group built whole or not at all, rebuilt when stale."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from trainer_core.errors import StorageError
from trainer_core.storage import flush_to_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["ArrayCache", "ArrayGroup", "ArraySpec", "Fill"]

ArraySpec: TypeAlias = "tuple[str, tuple[int, ...]]"
"""dtype and shape of an array."""
Fill: TypeAlias = "Callable[[Mapping[str, NDArray[Any]]], dict[str, Any]]"
"""Writes the values into empty arrays and returns JSON data to keep beside them."""

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

    Args:
        source: The folder or the file that the arrays are made from.
        fingerprint: Any JSON data that changes when the arrays must be made again.
        folder: Where to keep them. By default `.cache-trainer` in the source (beside it, if there
            is a variant), else the user's cache folder, else memory: the first that can be written.
        variant: Keeps the arrays apart from those that other options make of the same source.
            Needed where the source is a file.
    """

    def __init__(
        self, source: Path, fingerprint: Any, folder: Path | None = None, variant: str = ""
    ) -> None:
        text = json.dumps(fingerprint, sort_keys=True)
        self._key = hashlib.sha256(text.encode()).hexdigest()[:16]
        identity = str(source.resolve()) + (f"\n{variant}" if variant else "")
        name = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self._is_chosen = folder is not None
        if folder is not None:
            self._homes = [folder / f"{source.name}-{name}"]
        else:
            own = f"{source.name}-{name}"
            near = source.parent / CACHE_FOLDER / own if variant else source / CACHE_FOLDER
            self._homes = [near, _user_cache() / own]

    def open(self, group: str, specs: Mapping[str, ArraySpec], fill: Fill) -> ArrayGroup:
        """Return a group, building it first if there is none that fits.

        Raises:
            StorageError: The folder was chosen by the caller and cannot be written.
        """
        for home in self._homes:
            found = _open_group(home / self._key / group, specs)
            if found is not None:
                return found
        for home in self._homes:
            try:
                return self._build(home, group, specs, fill)
            except OSError as exc:
                if self._is_chosen:
                    message = f"cache_dir: cannot write {home}: {exc.strerror or exc}"
                    raise StorageError(message) from exc
                _log.info("cannot keep the columns in %s: %s", home, exc)
        _log.warning("no folder for the columns can be written: they stay in memory")
        arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in specs.items()}
        extra = fill(arrays)
        return ArrayGroup(None, extra, arrays)

    def _build(
        self, home: Path, group: str, specs: Mapping[str, ArraySpec], fill: Fill
    ) -> ArrayGroup:
        final = home / self._key / group
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(home, self._key)
        staging = Path(tempfile.mkdtemp(prefix=f".{group}-", dir=final.parent))
        try:
            arrays = {
                name: _create_array(staging / f"{number:03d}.npy", spec)
                for number, (name, spec) in enumerate(specs.items())
            }
            extra = fill(arrays)
            del arrays
            for number in range(len(specs)):
                flush_to_disk(staging / f"{number:03d}.npy")
            files = {name: f"{number:03d}.npy" for number, name in enumerate(specs)}
            (staging / _INDEX).write_text(json.dumps({"arrays": files, "extra": extra}))
            _move_into_place(staging, final)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        found = _open_group(final, specs)
        if found is None:
            message = f"{final} cannot be read back"
            raise OSError(message)
        return found


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


def _remove_stale(home: Path, key: str) -> None:
    for folder in home.iterdir():
        if folder.name != key and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def _read_index(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / _INDEX).read_bytes())
    return document if isinstance(document, dict) else {}


def _map_arrays(folder: Path, files: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Map each file as a plain array: indexing a `memmap` object costs more than the copy."""
    return {
        name: np.asarray(np.lib.format.open_memmap(folder / file, mode="r"))
        for name, file in files.items()
    }


def _open_group(folder: Path, specs: Mapping[str, ArraySpec]) -> ArrayGroup | None:
    """Return the group in a folder, or None (and no folder) if it is not what was asked for."""
    if not folder.is_dir():
        return None
    try:
        index = _read_index(folder)
        arrays = _map_arrays(folder, index["arrays"])
        found = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
        if found == {name: (dtype, tuple(shape)) for name, (dtype, shape) in specs.items()}:
            return ArrayGroup(folder, index["extra"], arrays)
    except (OSError, ValueError, KeyError, TypeError):
        _log.info("the columns in %s are damaged and are built again", folder)
    shutil.rmtree(folder, ignore_errors=True)
    return None
