"""What sources of plain arrays (HDF5, zarr) share: LeRobot's own columns, casts, image frames."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from experiments_il.data.images import decode_image
from experiments_il.data.lerobot_format import DEFAULT_FEATURES, MOST_ROWS
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.episodes import Episodes
    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.source import FrameReader, Frames, VideoReader
    from experiments_il.data.stored_columns import StoredColumn

__all__ = ["ArraySource", "file_identity"]

_DEFAULTS = {feature.name: feature for feature in DEFAULT_FEATURES}


class ArraySource(ABC):
    """A source whose files hold arrays with one value per frame; see `FrameSource`.

    Files are open while something is read and not otherwise, so that no handle crosses a fork.

    Args:
        root: The folder or file.
        fps: Frames per second.
        columns: What is in the files, by feature name.
        episodes: The rows of each episode.
        task: What the robot is asked to do, in all episodes.
        options: JSON data: what else the columns depend on.

    Attributes:
        kind: The format in words.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        root: Path,
        *,
        fps: float,
        columns: Mapping[str, StoredColumn],
        episodes: Episodes,
        task: str,
        options: Any = None,
    ) -> None:
        if int(episodes.stop[-1]) > MOST_ROWS:
            message = f"{root}: declares {episodes.stop[-1]} frames, more than {MOST_ROWS}"
            raise DatasetError(message)
        self.root = root
        self.fps = fps
        self.episodes = episodes
        self.tasks = (task,)
        self.columns = dict(columns)
        self.features: dict[str, Feature] = {
            **{name: column.feature for name, column in columns.items()},
            **_DEFAULTS,
        }
        self.variant = json.dumps([type(self).__name__, options], sort_keys=True)

    @abstractmethod
    def files(self) -> list[Path]:
        """Return the files that the columns are made from."""

    @abstractmethod
    def read_blocks(
        self, parts: Sequence[str], *, small: bool
    ) -> Iterator[tuple[slice, dict[str, Any]]]:
        """Yield (rows, stored values by name).

        Args:
            parts: Names in the file.
            small: Whether the values are images, of which few should be in memory.
        """

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Return nothing: these files record no statistics."""
        return {}

    def fingerprint(self) -> list[Any]:
        """Return the columns, the episodes' lengths and the identity of each file."""
        columns = [
            [name, column.feature.dtype, list(column.feature.shape), list(column.parts)]
            for name, column in self.columns.items()
        ]
        lengths = self.episodes.length.tolist()
        return [columns, lengths, self.fps, [file_identity(path) for path in self.files()]]

    def read_columns(self, names: Sequence[str]) -> Iterator[tuple[slice, dict[str, Any]]]:
        """Yield the numbers of each block, LeRobot's own five computed from the episodes."""
        own = [name for name in names if name not in _DEFAULTS]
        defaults = [name for name in names if name in _DEFAULTS]
        parts = [part for name in own for part in self.columns[name].parts]
        for rows, stored in self.read_blocks(parts, small=False):
            values = {name: self._join(self.columns[name], stored, rows) for name in own}
            yield rows, values | {name: self._default(name, rows) for name in defaults}

    def read_frames(self, name: str) -> Iterator[tuple[slice, Frames]]:
        """Yield frames, uint8 `(channels, height, width)`."""
        column = self.columns[name]
        (part,) = column.parts
        scale: float | None = None
        for rows, stored in self.read_blocks([part], small=True):
            values = stored[part]
            if getattr(values, "ndim", 1) != 4:
                yield rows, self._decode(column.feature, values, rows)
                continue
            if values.dtype.kind == "f" and scale is None:
                scale = 1.0 if np.max(values) > 1 else self._scale(part)
            yield rows, self._to_chw(column.feature, values, scale or 1.0, rows)

    def open_images(self, name: str) -> FrameReader | None:
        """Return None: frames lie in compressed blocks, which are read as a whole."""
        del name
        return None

    def open_video(self, name: str, decoder: str = "auto") -> VideoReader:
        """Refuse: there are no videos in these files."""
        del decoder
        message = f"{self.root}: '{name}' is not a video"
        raise DatasetError(message)

    def _default(self, name: str, rows: slice) -> NDArray[Any]:
        index = np.arange(rows.start, rows.stop)
        episode = np.searchsorted(self.episodes.stop, index, side="right")
        frame = index - self.episodes.start[episode]
        values = {
            "index": index,
            "episode_index": episode,
            "frame_index": frame,
            "timestamp": (frame / self.fps).astype(np.float32),
            "task_index": np.zeros(len(index), np.int64),
        }
        return values[name]

    def _join(self, column: StoredColumn, stored: Mapping[str, Any], rows: slice) -> NDArray[Any]:
        count = rows.stop - rows.start
        feature = column.feature
        values = [np.asarray(stored[part]) for part in column.parts]
        if len(values) > 1:
            values = [np.concatenate([each.reshape(count, -1) for each in values], axis=1)]
        (joined,) = values
        if feature.dtype == "bool":
            joined = np.not_equal(joined, 0)
        shaped = joined.reshape(count, *feature.item_shape)
        return np.asarray(shaped, np.dtype(feature.dtype))

    def _scale(self, part: str) -> float:
        """Return what brings float frames to 0..255: 1, or 255 if no value is above 1."""
        blocks = self.read_blocks([part], small=True)
        return 1.0 if any(np.max(stored[part]) > 1 for _rows, stored in blocks) else 255.0

    def _to_chw(
        self, feature: Feature, values: NDArray[Any], scale: float, rows: slice
    ) -> NDArray[np.uint8]:
        if values.dtype.kind == "f":
            levels = np.rint(values * scale)
            inside = ((levels >= 0) & (levels <= 255)).reshape(len(levels), -1).all(axis=1)
            if not inside.all():
                place = self.episodes.place(rows.start + int(np.argmin(inside)))
                message = f"{self.root}: '{feature.name}' leaves the range 0 to 255 at {place}"
                raise DatasetError(message)
            values = levels.astype(np.uint8)
        return values if feature.is_channel_first else values.transpose(0, 3, 1, 2)

    def _decode(self, feature: Feature, blobs: Any, rows: slice) -> list[NDArray[np.uint8]]:
        channels, height, width = feature.item_shape
        return [
            self.arrange_channels(
                decode_image(
                    bytes(blob).rstrip(b"\0"),  # padded to the longest of the episode
                    (channels, height, width),
                    f"{self.root}: '{feature.name}' at {self.episodes.place(row)}",
                )
            )
            for row, blob in enumerate(blobs, start=rows.start)
        ]

    def arrange_channels(self, frame_chw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a decoded image with its channels in the order red, green, blue."""
        return frame_chw


def file_identity(path: Path) -> list[Any]:
    """Return name, size and time of a file: what changes when it is written again.

    Raises:
        DatasetError: It is not there.
    """
    try:
        status = path.stat()
    except OSError as exc:
        message = f"{path}: missing; it was there when the data set was opened"
        raise DatasetError(message) from exc
    return [path.name, status.st_size, status.st_mtime_ns]
