"""A data set as batches: whole-batch gathers of windows, one call per batch."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np
import torch

from experiments_il.data.batch_features import BatchFeature, batch_names, describe_key, rows_at_once
from experiments_il.data.chosen_rows import rows_of, select_episodes
from experiments_il.data.chunked_order import ChunkedOrder, Chunks, Runs
from experiments_il.data.episode_windows import EpisodeWindows
from experiments_il.data.frame_memory import FrameArray
from experiments_il.data.lerobot_format import nearest_hint
from experiments_il.data.run_buffer import RunBuffer
from trainer_core.errors import DatasetError
from trainer_core.windows import EdgeDistances, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.column_store import ColumnStore
    from experiments_il.data.relative_actions import RelativeKey
    from experiments_il.data.source import FrameReader
    from trainer_core.online import EpisodeKey
    from trainer_core.protocols import Batch

__all__ = ["BatchFeature", "WindowDataset"]

TASK_KEY = "task"
_ROWS_HASHED = 4096


class _Reader(Protocol):
    def __call__(self, edges: EdgeDistances, /) -> Any: ...


@final
class WindowDataset:
    """Samples of a data set: the values at a frame, and windows of values around it.

    A key with offsets gains a leading dimension T and a companion `<key>_is_pad`, bool `(T,)`,
    True where the window reaches out of the episode; there the nearest frame is repeated. float64
    and float16 features arrive as float32, frames as uint8 channels first, unscaled. `index` (the
    row in the whole data set) is always there.

    Args:
        store: The columns.
        offsets: Frames relative to the sample, by key.
        keys: The keys of the batch; None for every feature but strings. Keys of `offsets` are
            added. `task` is the task string.
        episodes: Episodes to draw samples from; None for all. The order of samples stays that of
            the data set.
        relative: Keys whose values are differences to the current frame's value of another key.
        chunks: Read samples in runs of neighbouring frames, which decodes each run once; None
            leaves the order to the engine.

    Raises:
        DatasetError: There is no such key or episode.
    """

    def __init__(
        self,
        store: ColumnStore,
        offsets: Mapping[str, Sequence[int]] | None = None,
        keys: Sequence[str] | None = None,
        episodes: Sequence[int] | None = None,
        relative: Sequence[RelativeKey] = (),
        chunks: Chunks | None = None,
    ) -> None:
        offsets = offsets or {}
        features = store.source.features
        names = batch_names(features, keys, tuple(offsets))
        for name in names:
            if name not in features and name != TASK_KEY:
                known = nearest_hint(name, features)
                message = f"{store.source.root}: the data set has no key '{name}'{known}"
                raise DatasetError(message)
        self._store = store
        self._episodes = select_episodes(store, episodes)
        self._rows = rows_of(store, self._episodes)
        self._windows = {key: Window(values) for key, values in offsets.items()}
        self._names = names
        self._relative = {each.key: each for each in relative}
        self._chunks = chunks
        self._runs = None if chunks is None else Runs(self._lengths(), chunks.frames)
        self._features = {key: spec for name in names for key, spec in self._describe(name)}
        self._readers = self._build_readers()
        self.recorded: Path | None = None

    def __len__(self) -> int:
        """Return the number of samples: one per frame of the chosen episodes."""
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the readers behind: they hold views into mapped files."""
        return {key: value for key, value in self.__dict__.items() if key != "_readers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the readers again."""
        self.__dict__.update(state)
        self._readers = self._build_readers()

    @property
    def features(self) -> dict[str, BatchFeature]:
        """Return shape and dtype of every key of a batch, without the batch dimension."""
        return dict(self._features)

    @property
    def episodes(self) -> tuple[int, ...]:
        """Return the episodes that samples come from, ascending."""
        return tuple(self._episodes.tolist())

    @property
    def samples_at_once(self) -> int:
        """Return how many samples are best read at once; 0 where frames make each large."""
        return rows_at_once(self._store.source.features, self._names, self._features)

    @property
    def fps(self) -> float:
        """Return the frames per second of the data set."""
        return self._store.source.fps

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the task strings by task index."""
        return self._store.source.tasks

    @property
    def written(self) -> tuple[str, ...]:
        """Return what was made on the disk to have these samples: a line each."""
        made = [f"demonstrations in {self.recorded}"] if self.recorded is not None else []
        return (*made, *(f"arrays of the data in {folder}" for folder in self._store.written))

    def sample_order(self, seed: int) -> ChunkedOrder | None:
        """Return the order in runs if there is to be one; see `trainer_core.sampling`."""
        if self._runs is None or self._chunks is None:
            return None
        return ChunkedOrder(self._runs, self._chunks.in_flight, seed)

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """Return what tells this data from other data, wherever its files are.

        Hashes of the chosen episodes with their lengths, and of the numbers of evenly spaced rows;
        the order in runs, and which frames are lossy: a run that is resumed compares them.
        """
        lengths = self._store.source.episodes.length[self._episodes]
        rows = self._rows[:: max(1, len(self._rows) // _ROWS_HASHED)]
        numbers = hashlib.sha256()
        for name in self._names:
            feature = self._store.source.features.get(name)
            if feature is not None and feature.is_numeric:
                numbers.update(self._store.numbers(name)[rows].tobytes())
        episodes = hashlib.sha256(np.stack([self._episodes, lengths]).astype("<i8").tobytes())
        found = {"episodes": episodes.hexdigest()[:16], "numbers": numbers.hexdigest()[:16]}
        if self._chunks is not None:
            found["order"] = f"chunked {self._chunks.frames} {self._chunks.in_flight}"
        plans = self._store.cameras.plans
        lossy = [name for name in self._names if name in plans and plans[name].kept == "jpeg"]
        return found | ({"jpeg": ", ".join(lossy)} if lossy else {})

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample; shape-[1] features are scalars."""
        batch = self.__getitems__(np.asarray([index]))
        return {key: value[0] for key, value in batch.items()}

    def __getitems__(self, indices: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
        """Return a batch of torch tensors, ready to use.

        Args:
            indices: Positions of the samples, int64 `(B,)`.

        Returns:
            Tensors `(B, *features[key].shape)` by key; string keys are lists of B strings.
        """
        rows = self._rows[np.asarray(indices, np.int64)]
        edges = EdgeDistances(rows, self._store.before, self._store.after)
        batch: dict[str, Any] = {}
        for name, read in self._readers.items():
            values = read(edges)
            batch[name] = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
            if name in self._windows:
                batch[f"{name}_is_pad"] = torch.from_numpy(self._windows[name].is_pad(edges))
        return batch

    @property
    def episode_keys(self) -> dict[str, EpisodeKey]:
        """Return what an episode that is not in the data set has to bring, by key.

        Tasks are those of the data set, `index` and `episode_index` are -1.

        Raises:
            DatasetError: A key of the batch cannot be known of a new episode.
        """
        return dict(self._episode_windows.keys)

    def batch_of_windows(self, windows: Mapping[str, NDArray[Any]]) -> Batch:
        """Return what `__getitems__` would, had the data set recorded these samples.

        Args:
            windows: Frames `(B, [T,] *shape)` for each of `episode_keys`, and `<key>_is_pad`, bool
                `(B, T)`, for those with offsets.

        Raises:
            DatasetError: A key is missing, or its frames have another shape.
        """
        return self._episode_windows.batch(windows)

    @cached_property
    def _episode_windows(self) -> EpisodeWindows:
        return EpisodeWindows(self._store.source, self._names, self._windows, self._relative)

    def _read_tasks(self, edges: EdgeDistances) -> list[str]:
        codes = self._store.numbers("task_index")[edges.rows]
        return [self.tasks[code] for code in codes.tolist()]

    def _lengths(self) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = self._store.source.episodes.length[self._episodes]
        return lengths

    def _frame_reader(self, frames: FrameReader, window: Window | None) -> _Reader:
        if self._runs is None or self._chunks is None:
            return _rows_reader(frames, window)
        episodes = self._store.source.episodes
        chosen = self._episodes[self._runs.episode]
        buffer = RunBuffer(
            frames,
            self._runs,
            self._rows,
            np.stack([episodes.start[chosen], episodes.stop[chosen]]),
            (0, 0) if window is None else (window.first, window.last),
            self._chunks.in_flight,
        )
        if window is None:
            return lambda edges: buffer.gather(edges.rows, edges.rows)
        return lambda edges: buffer.gather(window.rows(edges), edges.rows)

    def _string_reader(self, name: str) -> _Reader:
        return lambda edges: self._store.strings(name, edges.rows)

    def _describe(self, name: str) -> list[tuple[str, BatchFeature]]:
        window = self._windows.get(name)
        length = len(window) if window is not None else None
        return describe_key(name, self._store.source.features.get(name), length)

    def _build_readers(self) -> dict[str, _Reader]:
        readers = {name: self._build_reader(name) for name in self._names}
        for name, relative in self._relative.items():
            if name in readers:
                readers[name] = self._relative_reader(relative, readers[name])
        return readers

    def _relative_reader(self, relative: RelativeKey, read: _Reader) -> _Reader:
        reference = self._store.numbers(relative.reference)
        return lambda edges: relative.subtract(read(edges), reference[edges.rows])

    def _build_reader(self, name: str) -> _Reader:
        store, window = self._store, self._windows.get(name)
        feature = store.source.features.get(name)
        if feature is None or feature.dtype == "string":
            if window is not None:
                message = f"'{name}' holds strings, which have no windows"
                raise DatasetError(message)
            return self._read_tasks if feature is None else self._string_reader(name)
        column = store.camera(name) if feature.is_frame else store.numbers(name)
        if not isinstance(column, np.ndarray):
            return self._frame_reader(column, window)
        if feature.is_frame:
            return _rows_reader(FrameArray(column), window)
        read = _column_reader(column, window)
        if feature.dtype in {"float16", "float64"}:
            return lambda edges: read(edges).astype(np.float32)
        return read


def _rows_reader(frames: FrameReader, window: Window | None) -> _Reader:
    if window is None:
        return lambda edges: frames.gather(edges.rows)
    return lambda edges: frames.gather(window.rows(edges))


def _column_reader(column: NDArray[Any], window: Window | None) -> _Reader:
    if window is None:
        return lambda edges: column.take(edges.rows, 0)
    return window.reader(column)
