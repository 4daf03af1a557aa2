"""The faults of a LeRobotDataset: data files, images, videos, statistics."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.arrow import read_table
from experiments_il.data.columns import image_blobs, numeric_values, string_codes
from experiments_il.data.faults import Fault, value_faults
from experiments_il.data.images import decode_image
from experiments_il.data.video import VideoFile
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.lerobot_metadata import DataFile, LeRobotMetadata

__all__ = ["lerobot_faults"]

_TOLERANCE_S = 1e-4


def lerobot_faults(metadata: LeRobotMetadata, *, decode: bool) -> Iterator[list[Fault]]:
    """Yield the faults of each data file and of each camera's videos.

    Args:
        metadata: The data set.
        decode: Whether to decode every image and every video frame.
    """
    for file in metadata.data_files:
        yield _DataFileCheck(metadata, file).run(decode=decode)
    for name in metadata.episodes.videos:
        yield _video_faults(metadata, name, decode=decode)


class _DataFileCheck:
    """The look at one data file."""

    def __init__(self, metadata: LeRobotMetadata, file: DataFile) -> None:
        self._metadata = metadata
        self._file = file
        self._found: list[Fault] = []

    def run(self, *, decode: bool) -> list[Fault]:
        features = self._metadata.info.features.values()
        wanted = [feature for feature in features if feature.dtype != "video"]
        try:
            table = read_table(self._file.path, [feature.name for feature in wanted])
        except DatasetError as error:
            self._say(str(error).removeprefix(f"{self._file.path}: "))
            return self._found
        expected = self._file.stop - self._file.start
        if table.num_rows != expected:
            self._say(f"{table.num_rows} rows, its episodes have {expected}")
            return self._found
        for feature in wanted:
            if feature.name not in table.column_names:
                self._say(f"no column '{feature.name}', which info.json declares")
                continue
            try:
                self._look_at(feature, table[feature.name], decode=decode)
            except DatasetError as error:
                self._say(str(error))
        return self._found

    def _look_at(self, feature: Feature, column: Any, *, decode: bool) -> None:
        where = self._where
        if feature.dtype == "string":
            string_codes(column, feature, where)
        elif feature.dtype == "image":
            blobs = image_blobs(column, feature, where)
            if decode:
                self._decode(feature, blobs)
        else:
            self._check_numbers(feature, numeric_values(column, feature, where))

    def _check_numbers(self, feature: Feature, values: NDArray[Any]) -> None:
        self._found += value_faults(
            self._metadata.root,
            feature.name,
            values,
            place=self._place,
            fps=self._metadata.info.fps,
            file=str(self._file.path),
        )
        rows = np.arange(self._file.start, self._file.stop)
        episodes = self._metadata.episodes
        episode = np.searchsorted(episodes.stop, rows, side="right")
        frame = rows - episodes.start[episode]
        expected = {"index": rows, "episode_index": episode, "frame_index": frame}
        if feature.name in expected:
            wrong = np.flatnonzero(values != expected[feature.name])
            if wrong.size:
                row = int(wrong[0])
                wanted = expected[feature.name][row]
                self._say(f"'{feature.name}' is {values[row]}, expected {wanted}", row)
        elif feature.name == "timestamp":
            self._check_times(values, frame, episode)
        elif feature.name == "task_index":
            tasks = len(self._metadata.tasks)
            wrong = np.flatnonzero((values < 0) | (values >= tasks))
            if wrong.size:
                row = int(wrong[0])
                self._say(f"'task_index' is {values[row]}, the data set has {tasks} tasks", row)

    def _check_times(
        self, times: NDArray[Any], frame: NDArray[np.int64], episode: NDArray[np.int64]
    ) -> None:
        fps = self._metadata.info.fps
        # float32 seconds: beyond half an hour their spacing is wider than the tolerance
        tolerance = np.maximum(_TOLERANCE_S, np.spacing(np.abs(times).astype(np.float32)))
        with np.errstate(invalid="ignore"):
            wrong = np.abs(times.astype(np.float64) - frame / fps) > tolerance
        for number in np.unique(episode[wrong]).tolist():
            rows = np.flatnonzero(episode == number)
            row = int(rows[wrong[rows]][0])
            steps = np.diff(times[rows].astype(np.float64))
            step = float(np.median(steps)) if len(steps) else 0.0
            if len(steps) and np.ptp(steps) <= 2 * _TOLERANCE_S and step > 0:
                message = f"timestamps advance by {step:.4f} s, which is {1 / step:.4g} frames/s"
                self._say(f"{message}; info.json says {fps:g}", row)
            else:
                self._say(
                    f"'timestamp' is {times[row]:.4f}, not {frame[row] / fps:.4f}: uneven", row
                )

    def _decode(self, feature: Feature, blobs: list[bytes]) -> None:
        channels, height, width = feature.item_shape
        broken: set[int] = set()
        for row, blob in enumerate(blobs):
            episode, _frame = self._place(row)
            if episode in broken:
                continue
            try:
                decode_image(blob, (channels, height, width), f"'{feature.name}'")
            except DatasetError as error:
                broken.add(episode)
                self._say(str(error), row)

    def _where(self, row: int) -> str:
        return self._metadata.episodes.place(self._file.start + row)

    def _place(self, row: int) -> tuple[int, int]:
        return _place(self._metadata, self._file.start + row)

    def _say(self, message: str, row: int | None = None) -> None:
        fault = partial(Fault, str(self._metadata.root), message, str(self._file.path))
        if row is None:
            self._found.append(fault())
            return
        episode, frame = self._place(row)
        self._found.append(fault(episode, frame, frame / self._metadata.info.fps))


def _place(metadata: LeRobotMetadata, row: int) -> tuple[int, int]:
    episode = int(np.searchsorted(metadata.episodes.stop, row, side="right"))
    return episode, row - int(metadata.episodes.start[episode])


def _video_faults(metadata: LeRobotMetadata, name: str, *, decode: bool) -> list[Fault]:
    """Return the faults of one camera: the first of each file or of each episode."""
    places = metadata.episodes.videos[name]
    numbers = np.stack([places.chunk, places.file], axis=1)
    found: list[Fault] = []
    for chunk, number in np.unique(numbers, axis=0).tolist():
        path = metadata.video_path(name, chunk, number)
        say = partial(Fault, str(metadata.root), file=str(path))
        try:
            video = VideoFile(path)
        except DatasetError as error:
            found.append(say(message=str(error).removeprefix(f"{path}: ")))
            continue
        for episode in np.flatnonzero((numbers == (chunk, number)).all(axis=1)).tolist():
            fault = _episode_fault(metadata, name, episode, video, decode=decode)
            if fault is not None:
                frame, message = fault
                message = message.removeprefix(f"{path}: ")
                time_s = frame / metadata.info.fps
                found.append(say(message=message, episode=episode, frame=frame, time_s=time_s))
        video.close()
    return found


def _episode_fault(
    metadata: LeRobotMetadata, name: str, episode: int, video: VideoFile, *, decode: bool
) -> tuple[int, str] | None:
    """Return the first frame of an episode that is not there, and what is wrong."""
    length = int(metadata.episodes.length[episode])
    first = float(metadata.episodes.videos[name].from_s[episode])
    times = first + np.arange(length) / metadata.info.fps
    after = np.clip(np.searchsorted(video.times_s, times), 1, max(1, len(video.times_s) - 1))
    near = video.times_s[np.minimum(np.stack([after - 1, after]), len(video.times_s) - 1)]
    distance = np.abs(near - times).min(axis=0)
    missing = np.flatnonzero(distance > _TOLERANCE_S)
    if missing.size:
        frame = int(missing[0])
        last = f"the video ends at {video.times_s[-1]:.4f} s"
        return frame, f"no frame at {times[frame]:.4f} s ({missing.size} frames missing); {last}"
    if not decode:
        return None
    feature = metadata.info.features[name]
    shape, read = feature.item_shape, video.read if feature.depth is None else video.read_codes
    for frame, time_s in enumerate(times.tolist()):
        try:
            read(time_s, shape, f"episode {episode}, frame {frame}")
        except DatasetError as error:
            return frame, str(error)
    return None
