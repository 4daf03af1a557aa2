"""What a data set that is written to has already, and where its next files go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from experiments_il.data.arrow import read_table
from experiments_il.data.lerobot_format import Place
from experiments_il.data.lerobot_metadata import episode_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from experiments_il.data.lerobot_metadata import LeRobotMetadata
    from experiments_il.data.video_files import VideoSpan

__all__ = [
    "codec_of",
    "last_place",
    "last_video",
    "numbers_of",
    "remove_unfinished",
    "video_columns",
    "write_json",
]


def numbers_of(place: Place) -> dict[str, int]:
    """Return the numbers of a file under the names of v3.0's templates."""
    return {"chunk_index": place.chunk, "file_index": place.file}


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(document, indent=4, allow_nan=False))


def last_place(existing: LeRobotMetadata | None) -> Place:
    """Return the place of the last data file; one before the first if there is none."""
    return max(file.place for file in existing.data_files) if existing else Place(0, -1)


def remove_unfinished(existing: LeRobotMetadata, chunks_size: int) -> None:
    """Remove files that a killed `append` had named before it came to `info.json`."""
    for table in episode_files(existing.root):
        numbers = read_table(table.path, ["episode_index"])["episode_index"].to_pylist()
        if numbers and min(numbers) >= existing.info.total_episodes:
            table.path.unlink()
    place = last_place(existing).next(chunks_size)
    while (path := existing.data_path(place.chunk, place.file)).is_file():
        path.unlink()
        place = place.next(chunks_size)
    for name in existing.episodes.videos:
        place = last_video(existing, name).next(chunks_size)
        while (path := existing.video_path(name, place.chunk, place.file)).is_file():
            path.unlink()
            place = place.next(chunks_size)


def last_video(existing: LeRobotMetadata | None, name: str) -> Place:
    """Return the place of a camera's last video file; one before the first if there is none."""
    if existing is None:
        return Place(0, -1)
    places = existing.episodes.videos[name]
    return max(map(Place, places.chunk.tolist(), places.file.tolist()))


def video_columns(spans: Mapping[str, VideoSpan]) -> dict[str, int | float]:
    """Return the columns of the episodes table that say where an episode's videos are."""
    columns: dict[str, int | float] = {}
    for name, span in spans.items():
        columns |= {
            f"videos/{name}/chunk_index": span.place.chunk,
            f"videos/{name}/file_index": span.place.file,
            f"videos/{name}/from_timestamp": span.from_s,
            f"videos/{name}/to_timestamp": span.to_s,
        }
    return columns


def codec_of(features: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the codec of the videos that are there, as far as it can be written."""
    found = {(spec.get("info") or {}).get("video.codec") for spec in features.values()}
    return "av1" if "av1" in found else "h264"
