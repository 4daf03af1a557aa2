"""The columns of a data set: its files read once, memory-mapped arrays ever after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.array_cache import ArrayCache
from experiments_il.data.frame_cache import FrameCache
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.array_cache import ArraySpec
    from experiments_il.data.frame_plan import CacheKind
    from experiments_il.data.source import FrameReader, FrameSource

__all__ = ["ColumnStore"]

_LAYOUT_VERSION = 2
# Feature names hold no "/", so these cannot collide with one.
_BEFORE = "edge/before"
_AFTER = "edge/after"


class ColumnStore:
    """One C-contiguous array per feature, built at first use, shared by all processes.

    Numbers of all features are built together in one pass over the data files; what becomes of a
    camera's frames is decided when it is first asked for. A store is picklable and cheap to send to
    a worker process, unless frames are in memory: mapped files are mapped again there.

    Args:
        source: The data set, of any format.
        cache_dir: Where to keep the arrays; see `ArrayCache`.
        cache: How frames are kept; `none` also keeps the numbers in memory.
        decoder: Of mp4 files: `auto`, `pyav` or `torchcodec`.

    Attributes:
        cameras: How the frames of cameras are kept.

    Raises:
        DatasetError: A data file is missing, broken or contradicts the metadata.
    """

    def __init__(
        self,
        source: FrameSource,
        cache_dir: Path | None = None,
        *,
        cache: CacheKind = "auto",
        decoder: str = "auto",
    ) -> None:
        self.source = source
        self._rows = int(source.episodes.stop[-1])
        fingerprint = [_LAYOUT_VERSION, *source.fingerprint()]
        self._cache = ArrayCache(
            source.root, fingerprint, cache_dir, source.variant, in_memory=cache == "none"
        )
        try:
            self._tables = self._cache.open("lowdim", self._lowdim_specs(), self._fill_lowdim)
        except MemoryError as exc:
            message = f"{source.root}: the columns do not fit into memory: {exc}"
            raise DatasetError(message) from exc
        self.cameras = FrameCache(source, self._cache, cache, decoder)

    @property
    def written(self) -> tuple[Path, ...]:
        """Return the folders of arrays that were made here, not found."""
        return tuple(self._cache.written)

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
            place = self.source.episodes.place(row)
            message = f"{self.source.root}: '{name}' has a value that is not finite at {place}"
            raise DatasetError(message)
        return self._tables.arrays[name]

    def camera(self, name: str) -> NDArray[Any] | FrameReader:
        """Return a camera's frames: an array `(rows, C, H, W)`, or what reads them by row."""
        return self.cameras.open(name)

    def frames(self, name: str) -> NDArray[Any]:
        """Return all frames of a camera `(rows, C, H, W)`, decoded now if they are not kept so."""
        frames = self.camera(name)
        return frames if isinstance(frames, np.ndarray) else frames.gather(np.arange(self._rows))

    def strings(self, name: str, rows: NDArray[np.int64]) -> list[str]:
        """Return the values of a string column at some rows."""
        vocabulary = self._tables.extra["strings"][name]
        return [vocabulary[code] for code in self._tables.arrays[name][rows].tolist()]

    def _lowdim_specs(self) -> dict[str, ArraySpec]:
        specs: dict[str, ArraySpec] = {_BEFORE: ("int32", (self._rows,))}
        specs[_AFTER] = ("int32", (self._rows,))
        for name, feature in self.source.features.items():
            if feature.is_numeric:
                specs[name] = (feature.dtype, (self._rows, *feature.item_shape))
            elif feature.dtype == "string":
                specs[name] = ("int32", (self._rows,))
        return specs

    def _fill_lowdim(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        features = self.source.features
        names = [name for name in arrays if name in features]
        strings: dict[str, dict[str, int]] = {
            name: {} for name in names if features[name].dtype == "string"
        }
        for rows, values in self.source.read_columns(names):
            for name, column in values.items():
                if name in strings:
                    known = strings[name]
                    column = [known.setdefault(word, len(known)) for word in column.tolist()]  # noqa: PLW2901 - codes instead of words
                arrays[name][rows] = column
        _check_order(arrays, self.source)
        episodes = self.source.episodes
        frame = np.arange(self._rows) - np.repeat(episodes.start, episodes.length)
        arrays[_BEFORE][:] = frame
        arrays[_AFTER][:] = np.repeat(episodes.length, episodes.length) - 1 - frame
        return {
            "strings": {name: list(words) for name, words in strings.items()},
            "not_finite": {name: row for name in names if (row := _not_finite(arrays[name])) >= 0},
        }


def _not_finite(column: NDArray[Any]) -> int:
    """Return the first row with a value that is not finite; -1 if there is none."""
    if column.dtype.kind != "f":
        return -1
    wrong = np.flatnonzero(~np.isfinite(column.reshape(len(column), -1)).all(axis=1))
    return int(wrong[0]) if wrong.size else -1


def _check_order(arrays: Mapping[str, NDArray[Any]], source: FrameSource) -> None:
    """Check that rows are where the episodes table says: windows rely on nothing else."""
    episodes = source.episodes
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
                f"{source.root}: '{name}' is {arrays[name][row]} at {episodes.place(row)}, "
                f"expected {values[row]}"
            )
            raise DatasetError(message)
    task = arrays["task_index"]
    wrong = np.flatnonzero((task < 0) | (task >= len(source.tasks)))
    if wrong.size:
        row = int(wrong[0])
        message = (
            f"{source.root}: 'task_index' is {task[row]} at {episodes.place(row)}, "
            f"the data set has {len(source.tasks)} tasks"
        )
        raise DatasetError(message)
