"""h5py, an optional package: files opened to read, their faults in the words of data sets."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from experiments_il.data.near_paths import missing_data_hint
from experiments_il.data.optional_packages import import_optional
from experiments_il.data.stored_columns import StoredArray
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["frame_blocks", "group_items", "import_h5py", "is_array", "open_hdf5", "stored_array"]

_IMAGES_AT_ONCE = 32


def import_h5py() -> Any:
    """Return h5py, or raise `MissingPackageError`."""
    return import_optional("h5py", "reading and writing HDF5 data sets", "hdf5")


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file to read, for the length of a block.

    Raises:
        DatasetError: It is missing, truncated or no HDF5 file, or a value cannot be read.
    """
    h5py = import_h5py()
    if not path.is_file():
        message = f"{path}: no such file{missing_data_hint(path)}"
        raise DatasetError(message)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except MemoryError as exc:
        message = f"{path}: an array does not fit into memory: {exc}"
        raise DatasetError(message) from exc
    except (OSError, RuntimeError) as exc:
        message = f"{path}: cannot be read as HDF5: {exc}"
        raise DatasetError(message) from exc


def group_items(path: Path, group: Any) -> dict[str, Any]:
    """Return what lies in a group of a file, by name.

    Args:
        path: The file, for messages.
        group: A group of it.

    Raises:
        DatasetError: It is no group, or an item is a link to nothing, or lies in another file:
            whoever made a data set must not choose which files of this machine are read.
    """
    h5py = import_h5py()
    if not isinstance(group, h5py.Group):
        message = f"{path}: '{group.name.lstrip('/')}' is an array, expected a group"
        raise DatasetError(message)
    found: dict[str, Any] = {}
    for name in group:
        where = f"{path}: '{f'{group.name}/{name}'.lstrip('/')}'"
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            message = f"{where} is a link to another file, '{link.filename}', which is not read"
            raise DatasetError(message)
        item = group.get(name)
        if item is None or (item.file.filename != group.file.filename):
            message = f"{where} is a link to nothing in this file"
            raise DatasetError(message)
        if isinstance(item, h5py.Dataset) and _lies_elsewhere(item):
            message = f"{where} keeps its values in another file, which is not read"
            raise DatasetError(message)
        found[name] = item
    return found


def _lies_elsewhere(dataset: Any) -> bool:
    if dataset.is_virtual:
        return any(source.file_name != "." for source in dataset.virtual_sources())
    return bool(dataset.external)


def is_array(item: Any) -> bool:
    """Return whether an item of a group is an array with one value per frame."""
    return isinstance(item, import_h5py().Dataset) and item.ndim > 0


def stored_array(dataset: Any) -> StoredArray:
    """Return dtype and shape of one frame's value."""
    return StoredArray(dataset.dtype.name, tuple(dataset.shape[1:]))


def frame_blocks(length: int, *, small: bool) -> Iterator[slice]:
    """Yield an episode's frames at once, or a few of them at a time."""
    step = _IMAGES_AT_ONCE if small else length
    for begin in range(0, length, step):
        yield slice(begin, min(begin + step, length))
