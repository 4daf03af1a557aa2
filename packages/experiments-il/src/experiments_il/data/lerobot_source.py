"""LeRobotDataset v3.0 and v2 as a source of columns: parquet tables, PNG cells, mp4 files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.arrow import read_table
from experiments_il.data.columns import image_blobs, numeric_values, string_codes
from experiments_il.data.images import decode_image
from experiments_il.data.lerobot_format import nearest_hint
from experiments_il.data.lerobot_images import ParquetImages
from experiments_il.data.lerobot_metadata import open_metadata
from experiments_il.data.video import VideoFrames
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from experiments_il.data.episodes import Episodes
    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.lerobot_metadata import DataFile, LeRobotMetadata
    from experiments_il.data.source import Frames

__all__ = ["LeRobotSource", "open_lerobot"]


@dataclass(frozen=True)
class LeRobotSource:
    """A LeRobotDataset; see `FrameSource`.

    Attributes:
        metadata: What is known before its data files are opened.
    """

    metadata: LeRobotMetadata
    variant: str = ""

    @property
    def root(self) -> Path:
        """Return the data set's folder."""
        return self.metadata.root

    @property
    def kind(self) -> str:
        """Return the format with its version."""
        return f"LeRobotDataset {self.metadata.info.raw['codebase_version']}"

    @property
    def fps(self) -> float:
        """Return the frames per second."""
        return self.metadata.info.fps

    @property
    def features(self) -> Mapping[str, Feature]:
        """Return the columns by name."""
        return self.metadata.info.features

    @property
    def episodes(self) -> Episodes:
        """Return the rows of each episode."""
        return self.metadata.episodes

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the task strings by task index."""
        return self.metadata.tasks

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Return `meta/stats.json`, or what v2.1 has instead."""
        return self.metadata.stats

    def fingerprint(self) -> list[Any]:
        """Return the declared features, the episodes' lengths and the identity of each file."""
        files: list[list[Any]] = []
        for file in self.metadata.data_files:
            try:
                status = file.path.stat()
            except OSError as exc:
                message = f"{file.path}: missing; the data set's metadata names this file"
                raise DatasetError(message) from exc
            name = file.path.relative_to(self.root).as_posix()
            files.append([name, file.start, file.stop, status.st_size, status.st_mtime_ns])
        features = {
            name: [feature.dtype, list(feature.shape), feature.is_channel_first]
            for name, feature in self.features.items()
        }
        return [files, features, self.episodes.length.tolist()]

    def read_columns(self, names: Sequence[str]) -> Iterator[tuple[slice, dict[str, Any]]]:
        """Yield the numbers and strings of each data file."""
        for file, table in self._read_files(names):
            values: dict[str, Any] = {}
            for name in names:
                feature = self.features[name]
                if feature.dtype == "string":
                    codes, words = self._decode(string_codes, file, table, feature)
                    values[name] = np.array(words, object)[codes]
                else:
                    values[name] = self._decode(numeric_values, file, table, feature)
            yield slice(file.start, file.stop), values

    def read_frames(self, name: str) -> Iterator[tuple[slice, Frames]]:
        """Yield the decoded images of a camera, one by one."""
        feature = self.features[name]
        channels, height, width = feature.item_shape
        for file, table in self._read_files([name]):
            blobs = self._decode(image_blobs, file, table, feature)
            for row, blob in enumerate(blobs, start=file.start):
                where = f"{file.path}: '{name}' at {self.episodes.place(row)}"
                yield slice(row, row + 1), [decode_image(blob, (channels, height, width), where)]

    def open_images(self, name: str) -> ParquetImages:
        """Return the frames of a camera whose images are cells of the data files."""
        return ParquetImages(self.metadata.data_files, self.features[name], self.episodes.place)

    def open_video(self, name: str, decoder: str = "auto") -> VideoFrames:
        """Return the frames of an mp4 camera."""
        return VideoFrames(self.metadata, name, decoder)

    def _read_files(self, names: Sequence[str]) -> Iterator[tuple[DataFile, Any]]:
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
                lambda row: self.episodes.place(file.start + row),
            )
        except DatasetError as exc:
            message = f"{file.path}: {exc}"
            raise DatasetError(message) from exc


def open_lerobot(root: Path) -> LeRobotSource:
    """Open a LeRobotDataset.

    Raises:
        DatasetError: A file is missing or broken, or the counts contradict each other.
    """
    return LeRobotSource(open_metadata(root))
