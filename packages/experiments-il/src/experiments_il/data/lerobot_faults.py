"""The faults of a LeRobotDataset's data files: rows, numbers, times, tasks, images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.arrow import read_table
from experiments_il.data.columns import image_blobs, numeric_values, string_codes
from experiments_il.data.faults import Fault, FrameWatch, value_faults
from experiments_il.data.images import decode_image
from experiments_il.data.video_faults import video_faults
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
        yield video_faults(metadata, name, decode=decode)


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
        metadata = self._metadata
        watch = FrameWatch(metadata.root, feature.name, metadata.info.fps, str(self._file.path))
        for row, blob in enumerate(blobs):
            episode, frame = self._place(row)
            if episode in broken:
                continue
            try:
                pixels = decode_image(blob, (channels, height, width), f"'{feature.name}'")
            except DatasetError as error:
                broken.add(episode)
                self._say(str(error), row)
            else:
                watch.see(episode, frame, pixels)
        self._found += watch.faults()

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
