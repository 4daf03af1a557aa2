"""Writes LeRobotDataset v2.1: one parquet file per episode, one mp4 per episode and camera."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from experiments_il.data.arrow import pq
from experiments_il.data.durable import claim_staging
from experiments_il.data.feature_specs import converted_specs, default_values, feature_specs
from experiments_il.data.lerobot_format import INFO_PATH, Place, format_path, parse_feature
from experiments_il.data.parquet_schema import check_frames, data_schema, data_table
from experiments_il.data.recorded_files import write_json
from experiments_il.data.recorded_statistics import episode_statistics
from experiments_il.data.video_files import VideoFileWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from experiments_il.data.episode_stream import EpisodeData
    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.source import FrameSource

__all__ = ["write_lerobot_v2"]

_VERSION = "v2.1"
_DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_CHUNKS_SIZE = 1000


def write_lerobot_v2(
    source: FrameSource,
    path: Path,
    names: Mapping[str, str],
    episodes: Iterable[EpisodeData],
    *,
    camera: str = "image",
    codec: str = "h264",
) -> None:
    """Write a data set; the folder is to be renamed when it is whole.

    Args:
        source: The data set to convert.
        path: A folder that is not there yet.
        names: The features to take over.
        episodes: Those of the source.
        camera: `image` (PNG, lossless) or `video` (mp4).
        codec: `h264` or `av1`.

    Raises:
        DatasetError: A value does not fit its feature.
    """
    specs = feature_specs(
        path, converted_specs(source.features, list(names), camera), source.fps, codec
    )
    features = {name: parse_feature(name, spec) for name, spec in specs.items()}
    (path / "meta").mkdir(parents=True)
    with ExitStack() as stack:
        lines = {
            name: stack.enter_context((path / f"meta/{name}.jsonl").open("w", encoding="utf-8"))
            for name in ("episodes", "episodes_stats", "tasks")
        }
        counts = _write_episodes(path, source.fps, features, codec, episodes, lines)
    cameras = sum(feature.dtype == "video" for feature in features.values())
    write_json(
        path / INFO_PATH,
        {
            "codebase_version": _VERSION,
            "robot_type": None,
            **counts,
            "total_chunks": -(-counts["total_episodes"] // _CHUNKS_SIZE),
            "total_videos": cameras * counts["total_episodes"],
            "chunks_size": _CHUNKS_SIZE,
            "fps": int(source.fps) if float(source.fps).is_integer() else source.fps,
            "splits": {"train": f"0:{counts['total_episodes']}"},
            "data_path": _DATA_PATH,
            "video_path": _VIDEO_PATH if cameras else None,
            "features": specs,
        },
    )


def _write_episodes(
    path: Path,
    fps: float,
    features: Mapping[str, Feature],
    codec: str,
    episodes: Iterable[EpisodeData],
    lines: Mapping[str, Any],
) -> dict[str, int]:
    """Write the files of each episode and its lines; return the totals."""
    staging = claim_staging(path)
    schema = data_schema(features)
    videos = [name for name, feature in features.items() if feature.dtype == "video"]
    tasks: dict[str, int] = {}
    rows = count = 0
    for count, episode in enumerate(episodes, start=1):
        number = count - 1
        values = check_frames(features, episode.values)
        codes = [_task_code(tasks, text, lines["tasks"]) for text in episode.tasks]
        values |= default_values(number, rows, fps, codes)
        data = path / format_path(_DATA_PATH, **_numbers(number))
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(data_table(features, values, schema), data)
        for name in videos:
            place = path / format_path(_VIDEO_PATH, video_key=name, **_numbers(number))
            _write_video(staging, features[name], fps, codec, values[name], place)
        unique = list(dict.fromkeys(episode.tasks))
        line = {"episode_index": number, "tasks": unique, "length": len(codes)}
        _write_line(lines["episodes"], line)
        statistics = _without_quantiles(episode_statistics(features, values))
        _write_line(lines["episodes_stats"], {"episode_index": number, "stats": statistics})
        rows += len(codes)
    staging.rmdir()
    return {"total_episodes": count, "total_frames": rows, "total_tasks": len(tasks)}


def _numbers(episode: int) -> dict[str, int]:
    return {"episode_chunk": episode // _CHUNKS_SIZE, "episode_index": episode}


def _task_code(tasks: dict[str, int], text: str, lines: Any) -> int:
    if text not in tasks:
        tasks[text] = len(tasks)
        _write_line(lines, {"task_index": tasks[text], "task": text})
    return tasks[text]


def _write_video(
    staging: Path, feature: Feature, fps: float, codec: str, frames: Any, place: Path
) -> None:
    writer = VideoFileWriter(
        staging,
        "video",
        feature,
        fps=fps,
        codec=codec,
        last=Place(0, -1),
        chunks_size=_CHUNKS_SIZE,
        max_mb=0,
    )
    writer.write(frames)
    writer.finish()
    place.parent.mkdir(parents=True, exist_ok=True)
    writer.staged[0].path.rename(place)


def _without_quantiles(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return statistics as v2.1 has them: without quantiles."""
    return {
        name: {key: values for key, values in each.items() if not key.startswith("q")}
        for name, each in statistics.items()
    }


def _write_line(file: Any, document: Mapping[str, Any]) -> None:
    file.write(json.dumps(document, allow_nan=False) + "\n")
