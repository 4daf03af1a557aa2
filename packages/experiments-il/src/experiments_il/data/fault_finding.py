"""What is wrong with a data set: every fault with its place, not the first one only."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from experiments_il.data.doubts import doubts_about
from experiments_il.data.faults import Fault, FrameWatch, value_faults
from experiments_il.data.formats import detect_format, open_any
from experiments_il.data.lerobot_format import nearest_hint
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from experiments_il.data.source import FrameSource

__all__ = ["find_faults", "plan_checks"]


def find_faults(
    root: Path, *, fps: float | None = None, decode: bool = True, keys: Sequence[str] = ()
) -> list[Fault]:
    """Return all faults of a data set of any format.

    Args:
        root: Its folder or file.
        fps: Frames per second, for formats that do not record it.
        decode: Whether to decode every image and every video frame.
        keys: What a training needs: cameras and other features that must be there.

    Raises:
        MissingPackageError: The package that reads the format is not installed.
    """
    parts = plan_checks(root, fps=fps, decode=decode, keys=keys)[1]
    return [fault for part in parts for fault in part]


def plan_checks(
    root: Path, *, fps: float | None = None, decode: bool = True, keys: Sequence[str] = ()
) -> tuple[int, Iterator[list[Fault]]]:
    """Return how many parts a data set has, and the faults of each: nothing is read before.

    Args:
        root: As for `find_faults`.
        fps: As for `find_faults`.
        decode: As for `find_faults`.
        keys: As for `find_faults`.
    """
    from experiments_il.data.lerobot_faults import lerobot_faults  # noqa: PLC0415 - pyarrow
    from experiments_il.data.lerobot_source import LeRobotSource  # noqa: PLC0415 - pyarrow

    try:
        source = open_any(root, fps=fps)
    except DatasetError as error:
        several = _broken_parts(root)
        if several:
            return 1, iter([several])
        fault = Fault(str(root), _without(root, str(error)), file=_file_in(root, str(error)))
        return 1, iter([[fault]])
    if isinstance(source, LeRobotSource):
        parts = len(source.metadata.data_files) + len(source.metadata.episodes.videos)
        found = lerobot_faults(source.metadata, decode=decode)
    else:
        parts, found = len(source.features), _array_faults(source, decode=decode)
    return parts + 2, chain([_broken_parts(root)], found, _whole(source, keys))


def _whole(source: FrameSource, keys: Sequence[str]) -> Iterator[list[Fault]]:
    """Yield what concerns no single file: missing features, and doubts about the numbers."""
    missing = [key for key in keys if key not in source.features]
    yield [
        Fault(str(source.root), f"there is no '{key}'{nearest_hint(key, source.features)}")
        for key in missing
    ] + doubts_about(source)


def _broken_parts(root: Path) -> list[Fault]:
    """Return a fault for each broken episode of an HDF5 data set; none for other formats."""
    from experiments_il.data.aloha import broken_episodes  # noqa: PLC0415 - h5py
    from experiments_il.data.robomimic import broken_demonstrations  # noqa: PLC0415 - h5py

    try:
        kind = detect_format(root)
        if kind == "aloha":
            return [Fault(str(root), why, str(path)) for path, why in broken_episodes(root)]
        if kind == "robomimic":
            broken = broken_demonstrations(root)
            return [Fault(str(root), why, episode=number) for number, why in broken]
    except DatasetError:
        return []
    return []


def _array_faults(source: FrameSource, *, decode: bool) -> Iterator[list[Fault]]:
    """Yield the faults of each column of an HDF5 or zarr data set."""
    root, stop = source.root, source.episodes.stop

    def place(row: int) -> tuple[int, int]:
        episode = int(np.searchsorted(stop, row, side="right"))
        return episode, row - int(source.episodes.start[episode])

    for name, feature in source.features.items():
        found: list[Fault] = []
        watch = FrameWatch(root, name, source.fps)
        try:
            if feature.is_numeric:
                for rows, values in source.read_columns([name]):
                    first = rows.start
                    found += value_faults(
                        root,
                        name,
                        values[name],
                        place=lambda row, first=first: place(first + row),  # type: ignore[misc]
                        fps=source.fps,
                    )
            elif decode:
                for rows, frames in source.read_frames(name):
                    for row, frame in enumerate(frames, start=rows.start):
                        watch.see(*place(row), frame)
        except DatasetError as error:
            found.append(Fault(str(root), _without(root, str(error))))
        yield found + watch.faults()


def _without(root: Path, message: str) -> str:
    """Return a message without the path it begins with: the fault has it in a field."""
    path, colon, rest = message.partition(": ")
    return rest if colon and path.startswith(str(root)) else message


def _file_in(root: Path, message: str) -> str | None:
    path = message.partition(": ")[0]
    return path if path.startswith(str(root)) and path != str(root) else None
