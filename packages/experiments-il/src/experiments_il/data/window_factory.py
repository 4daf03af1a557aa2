"""What the data set factories share: windows, keys, statistics and splits, whatever the format."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments_il.data.batch_features import FARTHEST
from policy_constructor.errors import ConfigError, Problem
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments_il.data.column_store import ColumnStore
    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.relative_actions import RelativeKey
    from experiments_il.data.source import FrameSource
    from policy_constructor.ranges import Fraction, Positive
    from trainer_core.protocols import Batch

__all__ = ["WindowFactory", "split_episodes"]


class WindowFactory(ABC):
    """Windows around the frames of a data set, for the engine; formats say how it is opened.

    The batch holds every chosen key: float32 `(B, ...)`, and `(B, T, ...)` with `<key>_is_pad`
    `(B, T)` for keys with a window; cameras as uint8 `(B, [T,] C, H, W)`; `index` int64 `(B,)`.

    Args:
        path: The data set's folder or file.
        windows: Frames around each sample by key, as `[start, stop]` with stop left out:
            `action: [0, 16]` is the chunk of 16 actions that begins at the sample's frame,
            `observation.state: [-1, 1]` the last two states.
        delta_timestamps: The same in seconds, as LeRobot writes it: a list per key.
        keys: Keys of the batch besides those with a window; every feature but strings if None.
        episodes: Episodes to use; all if None.
        normalize: How the engine normalises a key: `mean_std`, `min_max` (to [-1, 1]),
            `quantiles` (1st to 99th percentile to [-1, 1]) or `identity`. Statistics are those of
            the whole data set.
        relative_actions: Keys that become differences to the current frame's value of another
            key, such as `{action: {reference: observation.state, dims: [0, 1, 2, null]}}`: `dims`
            has the dimension of the reference that belongs to each dimension of the key, and null
            where it stays absolute, as for a gripper; all in their order if left out. Statistics
            are those of the relative chunks; a policy acts in absolute units.
        val_fraction: Share of the episodes kept for validation, in [0, 1); at least one episode
            on each side. 0 means no validation set.
        split_seed: Which episodes those are; adding episodes to a data set moves few.
        cache_dir: Where to keep the memory-mapped columns; `.cache-trainer` in or beside the data
            set (or the user's cache folder, if that cannot be written) if None.
        cache: What is kept of what was read. `none`: nothing on disk, numbers in memory, frames
            decoded for each batch. `low_dim`: numbers on disk, frames decoded. `jpeg`: frames as
            JPEG of quality 95: small, quick, a little lossy. `uint8`: frames as arrays on disk:
            fastest, and up to 70 times as large as mp4. `ram`: frames as arrays in memory. `auto`:
            images, and videos of little size, as `uint8` where there is space; otherwise `low_dim`.
        decoder: Of mp4 files: `pyav`, or `torchcodec`, which needs FFmpeg's libraries; both give
            the same frames. `auto` is `pyav`.
        order: `shuffled`: samples from anywhere. `chunked`: from runs of neighbouring frames that
            play at once, which decodes each frame once per epoch; batches are less mixed.
        chunk_frames: Frames of a run: more decode faster and mix less.
        chunks_in_flight: Runs that play at once: more mix better and take more memory.
    """

    def __init__(
        self,
        path: str,
        *,
        windows: dict[str, list[int]] | None = None,
        delta_timestamps: dict[str, list[float]] | None = None,
        keys: list[str] | None = None,
        episodes: list[int] | None = None,
        normalize: dict[str, Literal["mean_std", "min_max", "quantiles", "identity"]] | None = None,
        relative_actions: dict[str, dict[str, Any]] | None = None,
        val_fraction: Fraction = 0.0,
        split_seed: int = 0,
        cache_dir: str | None = None,
        cache: Literal["auto", "none", "low_dim", "jpeg", "uint8", "ram"] = "auto",
        decoder: Literal["auto", "pyav", "torchcodec"] = "auto",
        order: Literal["shuffled", "chunked"] = "shuffled",
        chunk_frames: Positive = 32,
        chunks_in_flight: Positive = 32,
    ) -> None:
        self._root = Path(path).expanduser()
        self._windows = dict(windows or {})
        self._deltas = dict(delta_timestamps or {})
        self._keys = keys
        self._episodes = episodes
        self._normalize = dict(normalize or {})
        self._relative = dict(relative_actions or {})
        self._val_fraction = val_fraction
        self._split_seed = split_seed
        self._cache_dir = Path(cache_dir).expanduser() if cache_dir else None
        self._cache = cache
        self._decoder = decoder
        self._order = order
        self._chunk_frames = chunk_frames
        self._chunks_in_flight = chunks_in_flight
        problems = self._find_problems()
        if problems:
            raise ConfigError(problems)

    @abstractmethod
    def open_source(self) -> FrameSource:
        """Open the data set.

        Raises:
            DatasetError: It cannot be read.
            MissingPackageError: The package that reads this format is not installed.
        """

    @abstractmethod
    def declared_features(self) -> tuple[Mapping[str, Feature], float] | None:
        """Return features and frames per second if they are known without reading numbers."""

    def choose_episodes(self, source: FrameSource) -> list[int] | None:
        """Return the episodes to use of an open data set; None for all."""
        del source
        return self._episodes

    def build(self, opt_params: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Open the data set and return `dataset`, `norm_stats` and, if asked for, `val_dataset`.

        Args:
            opt_params: `local_rank`: the first process of a machine says what it does with frames.
            params: Unused; the constructor takes all parameters.

        Raises:
            DatasetError: The data set cannot be read, or lacks a key or an episode.
            MissingPackageError: A package that reads this format is not installed.
        """
        del params
        from experiments_il.data.chunked_order import Chunks  # noqa: PLC0415 - numpy, when used
        from experiments_il.data.column_store import ColumnStore  # noqa: PLC0415 - numpy, when used
        from experiments_il.data.dataset import WindowDataset  # noqa: PLC0415 - torch, when used
        from experiments_il.data.frame_display import show_order  # noqa: PLC0415 - when used
        from experiments_il.data.relative_actions import relative_stats  # noqa: PLC0415 - numpy
        from experiments_il.data.statistics import norm_stats  # noqa: PLC0415 - numpy, when used

        source = self.open_source()
        store = ColumnStore(source, self._cache_dir, cache=self._cache, decoder=self._decoder)
        offsets = self._offsets(source.fps)
        self._check_normalized_keys(store)
        train, val = self._split(len(source.episodes), self.choose_episodes(source))
        relative = self._relative_keys(source.features, offsets)
        is_shown = int(opt_params.get("local_rank", 0)) == 0
        self._prepare_frames(store, offsets, is_shown=is_shown)
        chunks = Chunks(self._chunk_frames, self._chunks_in_flight)
        dataset = WindowDataset(
            store,
            offsets,
            self._keys,
            train,
            relative,
            chunks if self._order == "chunked" else None,
        )
        order = dataset.sample_order(0)
        if order is not None and is_shown:
            show_order(order, chunks, len(dataset.episodes))
        modes = {key: mode for key, mode in self._normalize.items() if key in dataset.features}
        stats = norm_stats(modes, source.statistics(), store)
        for each in relative:
            stats[each.key] = relative_stats(store, each, offsets, modes.get(each.key, "identity"))
        result = {"dataset": dataset, "norm_stats": stats}
        if val:
            result["val_dataset"] = WindowDataset(store, offsets, self._keys, val, relative)
        return result

    def describe_batch(self, size: int) -> Batch | None:
        """Return a batch on the meta device as the data set declares it; None if it does not.

        Args:
            size: Samples.

        Raises:
            DatasetError: The metadata cannot be read, or a key is not in it.
        """
        declared = self.declared_features()
        if declared is None:
            return None
        features, fps = declared
        return self.describe_features(features, fps, size)

    def describe_features(self, features: Mapping[str, Feature], fps: float, size: int) -> Batch:
        """Return a batch on the meta device of some features.

        Args:
            features: The columns of a data set by key.
            fps: Its frames per second.
            size: Samples.

        Raises:
            DatasetError: A key of the batch is not among the features.
        """
        from experiments_il.data.batch_features import batch_names, empty_batch  # noqa: PLC0415 - see above
        from experiments_il.data.lerobot_format import nearest_hint  # noqa: PLC0415 - numpy, when used

        offsets = self._offsets(fps)
        for key in (*batch_names(features, self._keys, tuple(offsets)), *self._normalize):
            if key not in features and key not in {"index", "task"}:
                hint = nearest_hint(key, features)
                message = f"the data set has no key '{key}'{hint}"
                raise DatasetError(message)
        return empty_batch(features, offsets, self._keys, size)

    def _offsets(self, fps: float) -> dict[str, tuple[int, ...]]:
        from experiments_il.data.windows import frame_offsets  # noqa: PLC0415 - numpy, when used

        offsets = {key: tuple(range(*span)) for key, span in self._windows.items()}
        return offsets | frame_offsets(self._deltas, fps)

    def _prepare_frames(
        self, store: ColumnStore, offsets: Mapping[str, Any], *, is_shown: bool
    ) -> None:
        from experiments_il.data.batch_features import batch_names  # noqa: PLC0415 - when used
        from experiments_il.data.frame_display import prepare_frames  # noqa: PLC0415 - when used

        features = store.source.features
        names = batch_names(features, self._keys, tuple(offsets))
        cameras = [name for name in names if name in features and features[name].is_frame]
        if cameras:
            is_chunked = self._order == "chunked"
            prepare_frames(store, cameras, is_shown=is_shown, is_chunked=is_chunked)

    def _split(self, total: int, chosen: list[int] | None) -> tuple[list[int] | None, list[int]]:
        if self._val_fraction == 0:
            return chosen, []
        drawn = range(total) if chosen is None else chosen
        train, val = split_episodes(drawn, self._val_fraction, self._split_seed)
        if not train:
            message = f"{self._root}: val_fraction needs at least two episodes, found {len(val)}"
            raise DatasetError(message)
        return train, val

    def _relative_keys(
        self, features: Mapping[str, Feature], offsets: Mapping[str, tuple[int, ...]]
    ) -> list[RelativeKey]:
        from experiments_il.data.relative_actions import relative_keys  # noqa: PLC0415 - numpy, when used

        try:
            return relative_keys(self._relative, features, offsets)
        except DatasetError as error:
            message = f"{self._root}: {error}"
            raise DatasetError(message) from error

    def _check_normalized_keys(self, store: ColumnStore) -> None:
        from experiments_il.data.lerobot_format import nearest_hint  # noqa: PLC0415 - numpy, when used

        features = store.source.features
        for key in self._normalize:
            if key not in features:
                hint = nearest_hint(key, features)
                message = f"{self._root}: normalize: the data set has no key '{key}'{hint}"
                raise DatasetError(message)

    def _find_problems(self) -> list[Problem]:
        problems = [
            Problem(
                f"expected two integers [start, stop] with start < stop, found {span}",
                path=f"data.windows.{key}",
                code="wrong-value",
            )
            for key, span in self._windows.items()
            if len(span) != 2 or span[0] >= span[1]
        ]
        problems += [
            Problem(
                f"reaches {max(map(abs, span))} frames from the sample, more than {FARTHEST}",
                path=f"data.windows.{key}",
                code="wrong-value",
            )
            for key, span in self._windows.items()
            if span and max(map(abs, span)) > FARTHEST
        ]
        problems += [
            Problem("expected at least one time difference", path=f"data.delta_timestamps.{key}")
            for key, deltas in self._deltas.items()
            if not deltas
        ]
        problems += [
            Problem(
                "is given in windows and in delta_timestamps; keep one of them",
                path=f"data.windows.{key}",
                code="conflict",
            )
            for key in self._windows
            if key in self._deltas
        ]
        if not 0 <= self._val_fraction < 1:
            problems.append(
                Problem(
                    f"expected a number in [0, 1), found {self._val_fraction}",
                    path="data.val_fraction",
                    code="wrong-value",
                )
            )
        return problems


def split_episodes(
    episodes: range | list[int], val_fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Return the episodes of training and of validation, each in ascending order.

    An episode's side depends on (seed, episode) and on how many there are, not on the others'
    numbers. Validation gets at least one episode, training whatever remains.
    """
    ranked = sorted(
        set(episodes), key=lambda episode: hashlib.sha256(f"{seed}:{episode}".encode()).digest()
    )
    count = min(max(1, round(val_fraction * len(ranked))), max(1, len(ranked) - 1))
    return sorted(ranked[count:]), sorted(ranked[:count])
