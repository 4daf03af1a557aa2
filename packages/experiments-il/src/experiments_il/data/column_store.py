"""The columns of a data set: parquet read once, memory-mapped arrays ever after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.array_cache import ArrayCache
from experiments_il.data.arrow import read_table
from experiments_il.data.columns import image_blobs, numeric_values, string_codes
from experiments_il.data.images import decode_image
from experiments_il.data.lerobot_format import nearest_hint
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.array_cache import ArrayGroup, ArraySpec
    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.lerobot_metadata import DataFile, LeRobotMetadata

__all__ = ["ColumnStore"]

_LAYOUT_VERSION = 2
# Feature names hold no "/", so these cannot collide with one.
_BEFORE = "edge/before"
_AFTER = "edge/after"


class ColumnStore:
    """One C-contiguous array per feature, built at first use, shared by all processes.

    Numbers of all features are built together in one pass over the data files; the frames of a
    PNG camera are decoded when that camera is first asked for. A store is picklable and cheap to
    send to a worker process: mapped files are mapped again there.

    Args:
        metadata: The data set.
        cache_dir: Where to keep the arrays; see `ArrayCache`.

    Raises:
        DatasetError: A data file is missing, broken or contradicts the metadata.
    """

    def __init__(self, metadata: LeRobotMetadata, cache_dir: Path | None = None) -> None:
        self.metadata = metadata
        self._rows = metadata.info.total_frames
        self._cache = ArrayCache(metadata.root, _fingerprint(metadata), cache_dir)
        self._tables = self._cache.open("lowdim", self._lowdim_specs(), self._fill_lowdim)
        self._cameras: dict[str, ArrayGroup] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    @property
    def before(self) -> NDArray[np.int32]:
        """Return how many frames of its episode precede each row, `(rows,)`."""
        return self._tables.arrays[_BEFORE]

    @property
    def after(self) -> NDArray[np.int32]:
        """Return how many frames of its episode follow each row, `(rows,)`."""
        return self._tables.arrays[_AFTER]

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a numeric column `(rows, *item_shape)` in its declared dtype, read-only.

        Raises:
            DatasetError: It has a value that is not finite, which no training survives.
        """
        row = self._tables.extra["not_finite"].get(name)
        if row is not None:
            place = self.metadata.episodes.place(row)
            message = f"{self.metadata.root}: '{name}' has a value that is not finite at {place}"
            raise DatasetError(message)
        return self._tables.arrays[name]

    def frames(self, name: str) -> NDArray[np.uint8]:
        """Return the frames of a PNG camera, uint8 `(rows, channels, height, width)`."""
        if name not in self._cameras:
            feature = self.metadata.info.features[name]
            number = list(self.metadata.info.features).index(name)
            spec: dict[str, ArraySpec] = {name: ("uint8", (self._rows, *feature.item_shape))}
            self._cameras[name] = self._cache.open(f"camera-{number}", spec, self._fill_camera)
        return self._cameras[name].arrays[name]

    def strings(self, name: str, rows: NDArray[np.int64]) -> list[str]:
        """Return the values of a string column at some rows."""
        vocabulary = self._tables.extra["strings"][name]
        return [vocabulary[code] for code in self._tables.arrays[name][rows].tolist()]

    def _lowdim_specs(self) -> dict[str, ArraySpec]:
        specs: dict[str, ArraySpec] = {_BEFORE: ("int32", (self._rows,))}
        specs[_AFTER] = ("int32", (self._rows,))
        for name, feature in self.metadata.info.features.items():
            if feature.is_numeric:
                specs[name] = (feature.dtype, (self._rows, *feature.item_shape))
            elif feature.dtype == "string":
                specs[name] = ("int32", (self._rows,))
        return specs

    def _fill_lowdim(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        features = self.metadata.info.features
        names = [name for name in arrays if name in features]
        strings: dict[str, dict[str, int]] = {
            name: {} for name in names if features[name].dtype == "string"
        }
        for file, table in self._read_files(names):
            rows = slice(file.start, file.stop)
            for name in names:
                if name in strings:
                    codes, words = self._decode(string_codes, file, table, features[name])
                    known = strings[name]
                    places = [known.setdefault(word, len(known)) for word in words]
                    arrays[name][rows] = np.asarray(places, np.int32)[codes]
                else:
                    arrays[name][rows] = self._decode(numeric_values, file, table, features[name])
        _check_order(arrays, self.metadata)
        episodes = self.metadata.episodes
        frame = np.arange(self._rows) - np.repeat(episodes.start, episodes.length)
        arrays[_BEFORE][:] = frame
        arrays[_AFTER][:] = np.repeat(episodes.length, episodes.length) - 1 - frame
        return {
            "strings": {name: list(words) for name, words in strings.items()},
            "not_finite": {name: row for name in names if (row := _not_finite(arrays[name])) >= 0},
        }

    def _fill_camera(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        ((name, frames),) = arrays.items()
        feature = self.metadata.info.features[name]
        channels, height, width = feature.item_shape
        for file, table in self._read_files([name]):
            blobs = self._decode(image_blobs, file, table, feature)
            for row, blob in enumerate(blobs, start=file.start):
                where = f"{file.path}: '{name}' at {self.metadata.episodes.place(row)}"
                frames[row] = decode_image(blob, (channels, height, width), where)
        return {}

    def _read_files(self, names: list[str]) -> Iterator[tuple[DataFile, Any]]:
        for file in self.metadata.data_files:
            table = read_table(file.path, names)
            for name in names:
                if name not in table.column_names:
                    hint = nearest_hint(name, table.column_names)
                    message = f"{file.path}: no column '{name}', which info.json declares{hint}"
                    raise DatasetError(message)
            if table.num_rows != file.stop - file.start:
                expected = file.stop - file.start
                message = f"{file.path}: {table.num_rows} rows, its episodes have {expected}"
                raise DatasetError(message)
            yield file, table

    def _decode(self, decode: Any, file: DataFile, table: Any, feature: Feature) -> Any:
        try:
            return decode(
                table[feature.name],
                feature,
                lambda row: self.metadata.episodes.place(file.start + row),
            )
        except DatasetError as exc:
            message = f"{file.path}: {exc}"
            raise DatasetError(message) from exc


def _fingerprint(metadata: LeRobotMetadata) -> list[Any]:
    """Return what the arrays depend on: our layout, the declared features, the files' identity."""
    files: list[list[Any]] = []
    for file in metadata.data_files:
        try:
            status = file.path.stat()
        except OSError as exc:
            message = f"{file.path}: missing; the data set's metadata names this file"
            raise DatasetError(message) from exc
        name = file.path.relative_to(metadata.root).as_posix()
        files.append([name, file.start, file.stop, status.st_size, status.st_mtime_ns])
    features = {
        name: [feature.dtype, list(feature.shape), feature.is_channel_first]
        for name, feature in metadata.info.features.items()
    }
    lengths = metadata.episodes.length.tolist()
    return [_LAYOUT_VERSION, files, features, lengths]


def _not_finite(column: NDArray[Any]) -> int:
    """Return the first row with a value that is not finite; -1 if there is none."""
    if column.dtype.kind != "f":
        return -1
    wrong = np.flatnonzero(~np.isfinite(column.reshape(len(column), -1)).all(axis=1))
    return int(wrong[0]) if wrong.size else -1


def _check_order(arrays: Mapping[str, NDArray[Any]], metadata: LeRobotMetadata) -> None:
    """Check that rows are where the episodes table says: windows rely on nothing else."""
    episodes = metadata.episodes
    rows = np.arange(episodes.stop[-1])
    expected = {
        "index": rows,
        "episode_index": np.repeat(np.arange(len(episodes)), episodes.length),
        "frame_index": rows - np.repeat(episodes.start, episodes.length),
    }
    for name, values in expected.items():
        wrong = np.flatnonzero(arrays[name] != values)
        if wrong.size:
            row = int(wrong[0])
            message = (
                f"{metadata.root}: '{name}' is {arrays[name][row]} at {episodes.place(row)}, "
                f"expected {values[row]}"
            )
            raise DatasetError(message)
    task = arrays["task_index"]
    wrong = np.flatnonzero((task < 0) | (task >= len(metadata.tasks)))
    if wrong.size:
        row = int(wrong[0])
        message = (
            f"{metadata.root}: 'task_index' is {task[row]} at {episodes.place(row)}, "
            f"the data set has {len(metadata.tasks)} tasks"
        )
        raise DatasetError(message)
