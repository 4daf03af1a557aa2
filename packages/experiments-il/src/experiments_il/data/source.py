"""What every format looks like once it is open: columns by row, frames, episodes, statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from experiments_il.data.episodes import Episodes
    from experiments_il.data.lerobot_format import Feature

__all__ = ["FrameReader", "FrameSource", "Frames", "VideoReader"]

Frames: TypeAlias = "NDArray[np.uint8] | Sequence[NDArray[np.uint8]]"
"""A run of frames, each uint8 `(channels, height, width)`."""


class FrameReader(Protocol):
    """Frames by row, decoded when they are asked for; safe to send to another process."""

    def gather(self, rows: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return frames `(*rows.shape, channels, height, width)`: uint8; depth float32, metres.

        Args:
            rows: Their rows.
            out: Receives and is returned as the frames; None: a new array.
        """
        ...


class VideoReader(FrameReader, Protocol):
    """Frames of mp4 files."""

    def identity(self) -> list[Any]:
        """Return JSON data that changes when frames may be others: decoder and files."""
        ...


class FrameSource(Protocol):
    """A data set of any format. One row per frame, ordered by (episode, frame).

    Its features include LeRobot's five: `timestamp`, `frame_index`, `episode_index`, `index`,
    `task_index`. A source can be sent to another process: it holds no open file.
    """

    @property
    def root(self) -> Path:
        """Return the folder or the file, for messages and as the identity of the cache."""
        ...

    @property
    def kind(self) -> str:
        """Return the format in words: `LeRobotDataset v3.0`."""
        ...

    @property
    def variant(self) -> str:
        """Return what tells apart the columns that options make of the same files; often ''."""
        ...

    @property
    def fps(self) -> float:
        """Return the frames per second."""
        ...

    @property
    def features(self) -> Mapping[str, Feature]:
        """Return the columns by name."""
        ...

    @property
    def episodes(self) -> Episodes:
        """Return the rows of each episode."""
        ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the task strings by task index."""
        ...

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Return recorded statistics by feature, in LeRobot's layout; empty if there are none."""
        ...

    def fingerprint(self) -> list[Any]:
        """Return JSON data that changes when the columns must be read again."""
        ...

    def read_columns(self, names: Sequence[str]) -> Iterator[tuple[slice, dict[str, Any]]]:
        """Yield (rows, values by name) in the order of the rows until each was there once.

        Numbers are arrays `(rows, *item_shape)`; strings are object arrays `(rows,)`.

        Raises:
            DatasetError: A value is missing or unlike what is declared; it names file and frame.
        """
        ...

    def read_frames(self, name: str) -> Iterator[tuple[slice, Frames]]:
        """Yield (rows, frames) of an `image` feature, in the order of the rows."""
        ...

    def open_images(self, name: str) -> FrameReader | None:
        """Return the frames of an `image` feature, read one by one; None if they cannot be."""
        ...

    def open_video(self, name: str, decoder: str = "auto") -> VideoReader:
        """Return the frames of a `video` feature.

        Args:
            name: The feature.
            decoder: `auto`, `pyav` or `torchcodec`.
        """
        ...
