"""A data set read episode by episode, in order, with little memory: what converters go through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.lerobot_format import DEFAULT_FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.source import FrameSource

__all__ = ["EpisodeData", "own_features", "stream_episodes"]

_DEFAULTS = frozenset(feature.name for feature in DEFAULT_FEATURES)


@dataclass(frozen=True, slots=True)
class EpisodeData:
    """One whole episode.

    Attributes:
        number: In the source, from 0.
        values: By feature: arrays `(frames, *item_shape)`; cameras uint8
            `(frames, height, width, channels)`; strings as lists.
        tasks: The task of each frame.
    """

    number: int
    values: dict[str, Any]
    tasks: list[str]


def own_features(source: FrameSource) -> Mapping[str, Feature]:
    """Return the features without LeRobot's five, which follow from the episodes."""
    return {name: each for name, each in source.features.items() if name not in _DEFAULTS}


def stream_episodes(source: FrameSource) -> Iterator[EpisodeData]:
    """Yield the episodes; of images, one episode is in memory at a time.

    Raises:
        DatasetError: A file is missing or broken.
    """
    store = ColumnStore(source)
    features = own_features(source)
    cameras = {
        name: _episode_frames(source, feature)
        for name, feature in features.items()
        if feature.is_frame
    }
    task_index = store.numbers("task_index")
    for number, (start, stop) in enumerate(
        zip(source.episodes.start.tolist(), source.episodes.stop.tolist(), strict=True)
    ):
        rows = np.arange(start, stop)
        values: dict[str, Any] = {}
        for name, feature in features.items():
            if feature.is_frame:
                values[name] = next(cameras[name]).transpose(0, 2, 3, 1)
            elif feature.dtype == "string":
                values[name] = store.strings(name, rows)
            else:
                values[name] = store.numbers(name)[start:stop]
        tasks = [source.tasks[code] for code in task_index[start:stop].tolist()]
        yield EpisodeData(number, values, tasks)


def _episode_frames(source: FrameSource, feature: Feature) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of each episode, `(frames, channels, height, width)`."""
    episodes = source.episodes
    if feature.dtype == "video":
        video = source.open_video(feature.name)
        for start, stop in zip(episodes.start.tolist(), episodes.stop.tolist(), strict=True):
            yield video.gather(np.arange(start, stop))
        return
    lengths = iter(episodes.length.tolist())
    held = np.empty((next(lengths), *feature.item_shape), np.uint8)
    filled = 0
    for _rows, frames in source.read_frames(feature.name):
        block = np.asarray(frames)
        while len(block):
            part = block[: len(held) - filled]
            held[filled : filled + len(part)] = part
            filled, block = filled + len(part), block[len(part) :]
            if filled == len(held):
                yield held
                held = np.empty((next(lengths, 0), *feature.item_shape), np.uint8)
                filled = 0
