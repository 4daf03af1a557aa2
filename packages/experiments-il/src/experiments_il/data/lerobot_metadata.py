"""A data set's metadata: episodes, tasks, statistics; read once, checked against each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.arrow import pa, read_table
from experiments_il.data.episodes import LeRobotEpisodes, VideoPlaces
from experiments_il.data.lerobot_format import (
    STATS_PATH,
    TASKS_PATH,
    LeRobotInfo,
    Place,
    format_path,
    read_info,
    read_json,
)
from experiments_il.data.lerobot_v2 import read_v2_episodes, read_v2_statistics, read_v2_tasks
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "DataFile",
    "EpisodesFile",
    "LeRobotMetadata",
    "episode_files",
    "open_metadata",
]

_EPISODES_FOLDER = "meta/episodes"
_FILE = re.compile(r"chunk-(\d+)/file-(\d+)\.parquet")
_EPISODE_COLUMNS = (
    "episode_index",
    "length",
    "dataset_from_index",
    "dataset_to_index",
    "data/chunk_index",
    "data/file_index",
)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file and the rows it must hold."""

    path: Path
    place: Place
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class EpisodesFile:
    """A file of the episodes table."""

    path: Path
    place: Place


@dataclass(frozen=True)
class LeRobotMetadata:
    """What is known of a data set before its data files are opened.

    Attributes:
        root: The data set's folder.
        info: `meta/info.json`.
        episodes: Its episodes, in order.
        tasks: Task strings by task index.
    """

    root: Path
    info: LeRobotInfo
    episodes: LeRobotEpisodes
    tasks: tuple[str, ...]

    @cached_property
    def stats(self) -> dict[str, dict[str, Any]]:
        """Return the statistics of the whole data set by feature, empty if there are none."""
        path = self.root / STATS_PATH
        if self.info.major == 2 and not path.is_file():
            return read_v2_statistics(self.root)
        document = read_json(path) if path.is_file() else {}
        if not isinstance(document, dict):
            message = f"{path}: expected a mapping of features to statistics"
            raise DatasetError(message)
        return document

    @cached_property
    def data_files(self) -> tuple[DataFile, ...]:
        """Return the data files in the order of their rows."""
        episodes = self.episodes
        numbers = np.stack([episodes.chunk, episodes.file], axis=1)
        first = np.flatnonzero(np.any(numbers[1:] != numbers[:-1], axis=1)) + 1
        edges = [0, *first.tolist(), len(episodes)]
        places = [Place(*pair) for pair in numbers[edges[:-1]].tolist()]
        return tuple(
            DataFile(
                path=self.data_path(place.chunk, place.file),
                place=place,
                start=int(episodes.start[begin]),
                stop=int(episodes.stop[end - 1]),
            )
            for place, (begin, end) in zip(places, pairwise(edges), strict=True)
        )

    def data_path(self, chunk: int, file: int) -> Path:
        """Return the path of a data file."""
        template = self.info.data_path
        return self.root / format_path(template, **self._numbers(chunk, file))

    def video_path(self, key: str, chunk: int, file: int) -> Path:
        """Return the path of a video file of the camera `key`."""
        template = self.info.video_path or ""
        return self.root / format_path(template, video_key=key, **self._numbers(chunk, file))

    def _numbers(self, chunk: int, file: int) -> dict[str, int]:
        """Return a file's numbers under the names that the data set's templates use."""
        if self.info.major == 2:
            return {"episode_chunk": chunk, "episode_index": file}
        return {"chunk_index": chunk, "file_index": file}


def open_metadata(root: Path) -> LeRobotMetadata:
    """Read a data set's metadata and check that its counts agree.

    Raises:
        DatasetError: A file is missing or broken, or the counts contradict each other.
    """
    info = read_info(root)
    if info.major == 2:
        return LeRobotMetadata(root, info, read_v2_episodes(root, info), read_v2_tasks(root))
    return LeRobotMetadata(root, info, _read_episodes(root, info), _read_tasks(root))


def episode_files(root: Path) -> list[EpisodesFile]:
    """Return the files of the episodes table in the order of their numbers."""
    folder = root / _EPISODES_FOLDER
    found = {path: _FILE.search(path.as_posix()) for path in folder.glob("chunk-*/file-*.parquet")}
    numbered = sorted(
        (int(match[1]), int(match[2]), path) for path, match in found.items() if match
    )
    return [EpisodesFile(path, Place(chunk, file)) for chunk, file, path in numbered]


def _read_episodes(root: Path, info: LeRobotInfo) -> LeRobotEpisodes:
    folder = root / _EPISODES_FOLDER
    files = episode_files(root)
    if not files:
        message = f"{folder}: no episodes table; the recording was not finalised"
        raise DatasetError(message)
    cameras = [name for name, feature in info.features.items() if feature.dtype == "video"]
    names = list(_EPISODE_COLUMNS)
    for key in cameras:
        names += [
            f"videos/{key}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")
        ]
    columns = _read_columns([file.path for file in files], names)
    order = np.argsort(columns["episode_index"], kind="stable")[: info.total_episodes]
    columns = {name: values[order] for name, values in columns.items()}
    _check_episodes(folder, columns, info)
    return LeRobotEpisodes(
        start=columns["dataset_from_index"],
        stop=columns["dataset_to_index"],
        chunk=columns["data/chunk_index"],
        file=columns["data/file_index"],
        videos={
            key: VideoPlaces(
                chunk=columns[f"videos/{key}/chunk_index"],
                file=columns[f"videos/{key}/file_index"],
                from_s=columns[f"videos/{key}/from_timestamp"].astype(np.float64),
            )
            for key in cameras
        },
    )


def _read_columns(paths: list[Path], names: list[str]) -> dict[str, NDArray[Any]]:
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for path in paths:
        table = read_table(path, names)
        for name in names:
            if name not in table.column_names or table[name].null_count:
                message = f"{path}: column '{name}' is missing or incomplete"
                raise DatasetError(message)
            kind = pa.float64() if name.endswith("timestamp") else pa.int64()
            try:
                parts[name].append(table[name].cast(kind).to_numpy())
            except pa.ArrowException as exc:
                message = f"{path}: column '{name}' holds {table[name].type}, expected {kind}"
                raise DatasetError(message) from exc
    return {name: np.concatenate(values) for name, values in parts.items()}


def _check_episodes(folder: Path, columns: dict[str, NDArray[Any]], info: LeRobotInfo) -> None:
    index = columns["episode_index"]
    if len(index) < info.total_episodes:
        message = (
            f"{folder}: holds {len(index)} episodes, info.json counts {info.total_episodes}; "
            "the recording was not finalised"
        )
        raise DatasetError(message)
    if np.any(index != np.arange(len(index))):
        episode = int(np.argmax(index != np.arange(len(index))))
        message = f"{folder}: episode {episode} is missing or there twice"
        raise DatasetError(message)
    start, stop = columns["dataset_from_index"], columns["dataset_to_index"]
    expected = np.concatenate([[0], stop[:-1]])
    wrong = (start != expected) | (stop - start != columns["length"]) | (columns["length"] < 1)
    if np.any(wrong):
        episode = int(np.argmax(wrong))
        message = (
            f"{folder}: episode {episode} has rows {start[episode]} to {stop[episode]} and length "
            f"{columns['length'][episode]}; expected it to start at {expected[episode]}"
        )
        raise DatasetError(message)
    if stop[-1] != info.total_frames:
        message = f"{folder}: episodes hold {stop[-1]} frames, info.json counts {info.total_frames}"
        raise DatasetError(message)


def _read_tasks(root: Path) -> tuple[str, ...]:
    path = root / TASKS_PATH
    table = read_table(path, ["task_index", "task", "__index_level_0__"])
    text = "task" if "task" in table.column_names else "__index_level_0__"
    if "task_index" not in table.column_names or text not in table.column_names:
        message = f"{path}: expected the columns 'task_index' and 'task'"
        raise DatasetError(message)
    if table["task_index"].to_pylist() != list(range(table.num_rows)):
        message = f"{path}: row i must have task_index i"
        raise DatasetError(message)
    return tuple(str(task) for task in table[text].to_pylist())
