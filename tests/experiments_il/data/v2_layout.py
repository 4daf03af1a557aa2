"""Writes a LeRobotDataset v3.0 again in the layout of v2.1: one file per episode, JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import av

from experiments_il.data.arrow import pq
from experiments_il.data.lerobot_metadata import open_metadata

if TYPE_CHECKING:
    from pathlib import Path

    from experiments_il.data.lerobot_metadata import LeRobotMetadata

DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


def write_v2(source: Path, root: Path, *, chunks_size: int = 2) -> Path:
    """Copy a v3.0 data set to `root` as v2.1; packets of videos are copied, not encoded anew."""
    metadata = open_metadata(source)
    count = len(metadata.episodes)
    for episode in range(count):
        numbers = {"episode_chunk": episode // chunks_size, "episode_index": episode}
        data = root / DATA_PATH.format(**numbers)
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(_rows(metadata, episode), data)
        for key in metadata.episodes.videos:
            video = root / VIDEO_PATH.format(**numbers, video_key=key)
            video.parent.mkdir(parents=True, exist_ok=True)
            _copy_video(metadata, key, episode, video)
    meta = root / "meta"
    meta.mkdir()
    info = {key: value for key, value in metadata.info.raw.items() if "files_size" not in key}
    info |= {"codebase_version": "v2.1", "chunks_size": chunks_size, "data_path": DATA_PATH}
    info |= {"video_path": VIDEO_PATH if metadata.info.video_path else None}
    (meta / "info.json").write_text(json.dumps(info))
    lengths = metadata.episodes.length.tolist()
    episodes = [{"episode_index": n, "tasks": [], "length": lengths[n]} for n in range(count)]
    tasks = [{"task_index": n, "task": text} for n, text in enumerate(metadata.tasks)]
    _write_lines(meta / "episodes.jsonl", episodes)
    _write_lines(meta / "tasks.jsonl", tasks)
    _write_lines(meta / "episodes_stats.jsonl", _statistics(source, count))
    return root


def _rows(metadata: LeRobotMetadata, episode: int) -> Any:
    start, stop = int(metadata.episodes.start[episode]), int(metadata.episodes.stop[episode])
    (file,) = (each for each in metadata.data_files if each.start <= start < each.stop)
    return pq.read_table(file.path).slice(start - file.start, stop - start)


def _copy_video(metadata: LeRobotMetadata, key: str, episode: int, path: Path) -> None:
    places = metadata.episodes.videos[key]
    source = metadata.video_path(key, int(places.chunk[episode]), int(places.file[episode]))
    length = int(metadata.episodes.length[episode])
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        tick_s = float(stream.time_base or 1)
        ticks = 1 / (metadata.info.fps * tick_s)
        first = round(float(places.from_s[episode]) / tick_s)
        for packet in old.demux(stream):
            if packet.pts is None or packet.dts is None:
                continue
            if not first <= packet.pts + ticks / 2 < first + length * ticks:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, copy
            new.mux(packet)


def _statistics(source: Path, count: int) -> list[dict[str, Any]]:
    columns = pq.read_table(source / "meta/episodes").to_pydict()
    result = []
    for episode in range(count):
        stats: dict[str, dict[str, Any]] = {}
        for name, values in columns.items():
            if name.startswith("stats/") and not name.rsplit("/", 1)[1].startswith("q"):
                feature, statistic = name.removeprefix("stats/").rsplit("/", 1)
                stats.setdefault(feature, {})[statistic] = values[episode]
        result.append({"episode_index": episode, "stats": stats})
    return result


def _write_lines(path: Path, documents: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
