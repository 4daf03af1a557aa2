"""LeRobotDataset v2.1 and v2.0: JSON lines for metadata, one file per episode."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.episodes import LeRobotEpisodes, VideoPlaces
from experiments_il.data.statistics import merge_statistics
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from experiments_il.data.lerobot_format import LeRobotInfo

__all__ = ["read_v2_episodes", "read_v2_statistics", "read_v2_tasks"]

_EPISODES_PATH = "meta/episodes.jsonl"
_TASKS_PATH = "meta/tasks.jsonl"
_STATS_PATH = "meta/episodes_stats.jsonl"
_CHUNKS_SIZE = 1000


def read_v2_episodes(root: Path, info: LeRobotInfo) -> LeRobotEpisodes:
    """Return the episodes of `meta/episodes.jsonl`; rows follow from their lengths.

    Raises:
        DatasetError: The file is missing or broken, an episode is missing or there twice, or the
            counts contradict `info.json`.
    """
    path = root / _EPISODES_PATH
    lengths = dict(_numbered(path, "episode_index", "length", info.total_episodes))
    for episode in range(info.total_episodes):
        length = lengths.get(episode)
        if length is None:
            message = (
                f"{path}: episode {episode} is missing; info.json counts {info.total_episodes} "
                "episodes"
            )
            raise DatasetError(message)
        if type(length) is not int or length < 1:
            message = f"{path}: episode {episode} has length {length!r}; expected 1 or more"
            raise DatasetError(message)
    total = sum(lengths[episode] for episode in range(info.total_episodes))
    if total != info.total_frames:
        message = f"{path}: episodes hold {total} frames, info.json counts {info.total_frames}"
        raise DatasetError(message)
    stop = np.cumsum([lengths[episode] for episode in range(info.total_episodes)])
    number = np.arange(info.total_episodes)
    chunk = number // _chunks_size(root, info)
    cameras = [name for name, feature in info.features.items() if feature.dtype == "video"]
    return LeRobotEpisodes(
        start=np.concatenate([[0], stop[:-1]]),
        stop=stop,
        chunk=chunk,
        file=number,
        videos={key: VideoPlaces(chunk, number, np.zeros(len(number))) for key in cameras},
    )


def read_v2_tasks(root: Path) -> tuple[str, ...]:
    """Return the task strings of `meta/tasks.jsonl` by task index.

    Raises:
        DatasetError: The file is missing or broken, or an index is missing or there twice.
    """
    path = root / _TASKS_PATH
    tasks = dict(_numbered(path, "task_index", "task"))
    if sorted(tasks) != list(range(len(tasks))):
        message = f"{path}: task_index must run from 0 to {len(tasks) - 1} without a gap"
        raise DatasetError(message)
    return tuple(str(tasks[index]) for index in range(len(tasks)))


def read_v2_statistics(root: Path) -> dict[str, dict[str, Any]]:
    """Return `meta/episodes_stats.jsonl` merged over the episodes; empty if there is none.

    Raises:
        DatasetError: The file is broken, or the episodes' statistics have different shapes.
    """
    path = root / _STATS_PATH
    if not path.is_file():
        return {}
    episodes = [stats for _, stats in _numbered(path, "episode_index", "stats")]
    merged: dict[str, dict[str, Any]] = {}
    for name in episodes[0] if episodes and isinstance(episodes[0], dict) else ():
        try:
            together = merge_statistics([stats[name] for stats in episodes])
        except (KeyError, TypeError, ValueError) as exc:
            message = f"{path}: the episodes' statistics of '{name}' do not fit together"
            raise DatasetError(message) from exc
        merged[name] = {key: values.tolist() for key, values in together.items()}
    return merged


def _numbered(
    path: Path, index: str, value: str, below: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield (index, value) of each line; what lies beyond `below` is an unfinished append."""
    seen: set[int] = set()
    for number, line in _lines(path):
        key = line.get(index)
        if type(key) is not int or value not in line:
            message = f"{path}:{number}: expected a mapping with '{index}' and '{value}'"
            raise DatasetError(message)
        if below is not None and key >= below:
            continue
        if key in seen:
            message = f"{path}:{number}: {index} {key} is there twice"
            raise DatasetError(message)
        seen.add(key)
        yield key, line[value]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.exists() and not path.is_file():
        message = f"{path}: is no regular file"
        raise DatasetError(message)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        message = f"{path}: missing; a data set of version 2 has it"
        raise DatasetError(message) from exc
    except (OSError, UnicodeDecodeError) as exc:
        message = f"{path}: cannot be read: {exc}"
        raise DatasetError(message) from exc
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as exc:
            message = f"{path}:{number}: not JSON: {exc}"
            raise DatasetError(message) from exc
        if not isinstance(document, dict):
            message = f"{path}:{number}: expected a mapping, found {type(document).__name__}"
            raise DatasetError(message)
        yield number, document


def _chunks_size(root: Path, info: LeRobotInfo) -> int:
    size = info.raw.get("chunks_size", _CHUNKS_SIZE)
    if type(size) is not int or size < 1:
        message = f"{root}/meta/info.json: 'chunks_size' must be an integer above 0, found {size!r}"
        raise DatasetError(message)
    return min(size, info.total_episodes)  # all in the first chunk is all that more can mean
