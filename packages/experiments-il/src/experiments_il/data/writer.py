"""Writes LeRobotDataset v3.0: whole episodes in, and nothing visible until the data set is whole.

Episodes are written to files in a staging folder inside the data set. `close` gives the files
their names, `meta/info.json` last: it says how many episodes there are, and readers look no
further. A process that is killed leaves the data set as it was.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from experiments_il.data.arrow import pq
from experiments_il.data.data_files import DataFileWriter
from experiments_il.data.durable import claim_staging, is_unused, move_into_place
from experiments_il.data.feature_specs import default_values, feature_specs
from experiments_il.data.lerobot_format import (
    DATA_PATH,
    EPISODES_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VERSION,
    VIDEO_PATH,
    Place,
    format_path,
    parse_feature,
)
from experiments_il.data.lerobot_metadata import LeRobotMetadata, episode_files, open_metadata
from experiments_il.data.parquet_schema import (
    check_frames,
    data_schema,
    data_table,
    episodes_table,
    tasks_table,
)
from experiments_il.data.recorded_files import (
    codec_of,
    last_place,
    last_video,
    numbers_of,
    remove_unfinished,
    video_columns,
    write_json,
)
from experiments_il.data.recorded_statistics import dataset_statistics, episode_statistics
from experiments_il.data.video_files import VideoFileWriter
from trainer_core.errors import DatasetError, StorageError, TrainerError
from trainer_core.storage import flush_to_disk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType


__all__ = ["LeRobotWriter"]

_CHUNKS_SIZE = 1000  # LeRobot sorts paths as strings: file-1000 would come before file-101
_DATA_FILE_MB = 100.0
_VIDEO_FILE_MB = 200.0


class LeRobotWriter:
    """Writes a new data set (`create`), or more episodes to one (`append`).

    Use it as a context manager: leaving the block normally closes the writer, which makes the
    episodes visible; leaving it by an exception discards them.

        with LeRobotWriter.create(root, fps=20, features=features) as writer:
            writer.add_episode({"action": actions}, task="open the door")

    Args:
        root: The data set's folder.
        info: The content of `meta/info.json` before the new episodes.
        existing: What is there already; None for a new data set.
        video_codec: `h264` or `av1`, for cameras that are videos.
    """

    def __init__(
        self,
        root: Path,
        info: dict[str, Any],
        existing: LeRobotMetadata | None = None,
        video_codec: str = "h264",
    ) -> None:
        specs = info["features"]
        self._features = {name: parse_feature(name, spec) for name, spec in specs.items()}
        self._root = root
        self._info = info
        self._existing = existing
        self._schema = data_schema(self._features)
        self._tasks = {task: n for n, task in enumerate(existing.tasks if existing else ())}
        self._episodes: list[dict[str, Any]] = []
        self._rows = existing.info.total_frames if existing else 0
        self._first_episode = existing.info.total_episodes if existing else 0
        self._staging = claim_staging(root)
        self._files = DataFileWriter(
            self._staging,
            self._schema,
            last=last_place(existing),
            chunks_size=info["chunks_size"],
            max_mb=info["data_files_size_in_mb"],
        )
        self._is_open = True
        try:
            self._videos = self._video_files(video_codec)
        except TrainerError:
            self.discard()
            raise
        if existing:
            remove_unfinished(existing, info["chunks_size"])

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        fps: float,
        features: Mapping[str, Mapping[str, Any]],
        robot_type: str | None = None,
        data_file_mb: float = _DATA_FILE_MB,
        video_file_mb: float = _VIDEO_FILE_MB,
        video_codec: Literal["h264", "av1"] = "h264",
    ) -> Self:
        """Begin a new data set.

        Args:
            root: Its folder: not there yet, or empty.
            fps: Frames per second, above 0.
            features: dtype, shape and names by name, as in `info.json`, without what is written by
                itself: `timestamp`, `frame_index`, `episode_index`, `index` and `task_index`. A
                camera is an `image` (PNG, lossless) or a `video` (mp4, much smaller).
            robot_type: A label.
            data_file_mb: Size in MiB at which a new data file is begun.
            video_file_mb: The same for the video files of a camera.
            video_codec: `h264` decodes faster, `av1` (LeRobot's choice) takes less space.

        Raises:
            DatasetError: The folder is in use, or a feature is not valid.
            MissingPackageError: There is a video, and PyAV is not installed.
        """
        if not is_unused(root):
            message = f"{root}: already exists and is not empty"
            raise DatasetError(message)
        specs = feature_specs(root, features, fps, video_codec)
        has_videos = any(spec["dtype"] == "video" for spec in specs.values())
        info = {
            "codebase_version": VERSION,
            "robot_type": robot_type,
            "chunks_size": _CHUNKS_SIZE,
            "data_files_size_in_mb": data_file_mb,
            "video_files_size_in_mb": video_file_mb,
            "fps": int(fps) if float(fps).is_integer() else fps,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if has_videos else None,
            "features": specs,
        }
        return cls(root, info, video_codec=video_codec)

    @classmethod
    def append(cls, root: Path) -> Self:
        """Open a data set to add episodes. They go to new files; the old ones are not touched.

        Raises:
            DatasetError: The data set cannot be read, is of version 2, or is being written to.
        """
        existing = open_metadata(root)
        if existing.info.major != 3:
            version = existing.info.raw["codebase_version"]
            message = f"{root}: is LeRobotDataset {version}; episodes can be added to v3.0 only"
            raise DatasetError(message)
        defaults = {
            "chunks_size": _CHUNKS_SIZE,
            "data_files_size_in_mb": _DATA_FILE_MB,
            "video_files_size_in_mb": _VIDEO_FILE_MB,
        }
        info = {"data_path": DATA_PATH, **defaults, **existing.info.raw}
        return cls(root, info, existing, codec_of(info["features"]))

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the writer, or discard what was added if the block failed."""
        if kind is None:
            self.close()
        else:
            self.discard()

    def add_episode(self, frames: Mapping[str, Any], task: str | Sequence[str]) -> None:
        """Add one episode.

        Args:
            frames: Values by feature: arrays `(frames, *shape)` (scalars also `(frames,)`),
                cameras uint8 `(frames, height, width, channels)`, strings as a sequence.
            task: What the robot is asked to do, for the episode or for each frame.

        Raises:
            DatasetError: A value is missing, unknown, of another shape or dtype, or not finite.
            StorageError: The disk refuses.
        """
        if not self._is_open:
            message = f"{self._root}: the writer is closed"
            raise DatasetError(message)
        values = check_frames(self._features, frames)
        length = len(next(iter(values.values())))
        tasks = [task] * length if isinstance(task, str) else list(task)
        if len(tasks) != length:
            message = f"an episode of {length} frames needs as many tasks, found {len(tasks)}"
            raise DatasetError(message)
        episode = self._first_episode + len(self._episodes)
        codes = [self._task_index(text) for text in tasks]
        values |= default_values(episode, self._rows, self._info["fps"], codes)
        try:
            spans = {name: video.write(values[name]) for name, video in self._videos.items()}
            place = self._files.write(data_table(self._features, values, self._schema))
        except OSError as exc:
            self._give_up(exc)
        self._episodes.append(
            {
                "episode_index": episode,
                "tasks": list(dict.fromkeys(tasks)),
                "length": length,
                "data/chunk_index": place.chunk,
                "data/file_index": place.file,
                "dataset_from_index": self._rows,
                "dataset_to_index": self._rows + length,
                **video_columns(spans),
                "stats": episode_statistics(self._features, values),
            }
        )
        self._rows += length

    def close(self) -> None:
        """Make the added episodes visible, all at once.

        Raises:
            DatasetError: No episode was added to a new data set.
            StorageError: The disk refuses; the data set is as it was before this writer.
        """
        if not self._is_open:
            return
        if not self._episodes:
            self.discard()
            if self._existing is None:
                message = f"{self._root}: a data set needs at least one episode"
                raise DatasetError(message)
            return
        try:
            self._files.finish()
            for video in self._videos.values():
                video.finish()
            for staged, final in [*self._data_moves(), *self._stage_metadata()]:
                move_into_place(staged, final)
            flush_to_disk(self._root)
        except OSError as exc:
            self._give_up(exc)
        self.discard()

    def discard(self) -> None:
        """Forget the episodes that are not visible yet."""
        if not self._is_open:
            return
        self._is_open = False
        self._files.finish()
        shutil.rmtree(self._staging, ignore_errors=True)
        if self._existing is None and not any(self._root.iterdir()):
            self._root.rmdir()

    def _give_up(self, cause: OSError) -> NoReturn:
        self.discard()
        reason = cause.strerror or cause
        message = f"{self._root}: cannot be written: {reason}; finished episodes are intact"
        raise StorageError(message) from cause

    def _task_index(self, task: str) -> int:
        return self._tasks.setdefault(task, len(self._tasks))

    def _data_moves(self) -> list[tuple[Path, Path]]:
        template, videos = self._info["data_path"], self._info.get("video_path") or ""
        return [
            (file.path, self._root / format_path(template, **numbers_of(file.place)))
            for file in self._files.staged
        ] + [
            (file.path, self._root / format_path(videos, video_key=name, **numbers_of(file.place)))
            for name, video in self._videos.items()
            for file in video.staged
        ]

    def _video_files(self, codec: str) -> dict[str, VideoFileWriter]:
        return {
            name: VideoFileWriter(
                self._staging,
                f"video-{number}",
                feature,
                fps=self._info["fps"],
                codec=codec,
                last=last_video(self._existing, name),
                chunks_size=self._info["chunks_size"],
                max_mb=self._info["video_files_size_in_mb"],
            )
            for number, (name, feature) in enumerate(self._features.items())
            if feature.dtype == "video"
        }

    def _stage_metadata(self) -> list[tuple[Path, Path]]:
        """Write the metadata files aside; return where each belongs, `info.json` last."""
        place = Place(0, 0)
        if self._existing:
            place = episode_files(self._root)[-1].place.next(self._info["chunks_size"])
        total = self._first_episode + len(self._episodes)
        counts = {
            "total_episodes": total,
            "total_frames": self._rows,
            "total_tasks": len(self._tasks),
            "splits": {"train": f"0:{total}"},
        }
        staging = self._staging
        pq.write_table(
            episodes_table(self._episodes, place.chunk, place.file), staging / "episodes"
        )
        pq.write_table(tasks_table(list(self._tasks)), staging / "tasks")
        write_json(staging / "stats", self._statistics())
        write_json(staging / "info", self._info | counts)
        return [
            (staging / "episodes", self._root / format_path(EPISODES_PATH, **numbers_of(place))),
            (staging / "stats", self._root / STATS_PATH),
            (staging / "tasks", self._root / TASKS_PATH),
            (staging / "info", self._root / INFO_PATH),
        ]

    def _statistics(self) -> dict[str, dict[str, Any]]:
        before = self._existing.stats if self._existing else {}
        files = [file.path for file in self._existing.data_files] if self._existing else []
        cameras = {
            name: [
                *([before[name]] if name in before else []),
                *(episode["stats"][name] for episode in self._episodes),
            ]
            for name, feature in self._features.items()
            if feature.is_frame
        }
        files += [file.path for file in self._files.staged]
        return dataset_statistics(self._features, files, cameras)
