"""ALOHA's HDF5: one file per episode, joint positions and camera images, JPEG or raw.

Source: the recordings of tonyzhaozh/aloha and what openpi and RoboTwin make of them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from experiments_il.data.array_source import ArraySource
from experiments_il.data.episodes import Episodes
from experiments_il.data.hdf5 import (
    frame_blocks,
    group_items,
    is_array,
    open_hdf5,
    stored_array,
)
from experiments_il.data.images import image_size
from experiments_il.data.near_paths import missing_data_hint
from experiments_il.data.stored_columns import StoredArray, StoredColumn, is_image, named_columns
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EpisodicHdf5Source", "broken_episodes", "episode_paths", "open_episodic_hdf5"]

_OBSERVATIONS = "observations/"
_IMAGES = "observations/images/"
_NAMES = {"qpos": "state", "qvel": "velocity"}
_NOT_COLUMNS = frozenset({"compress_len"})


class EpisodicHdf5Source(ArraySource):
    """The episodes of a folder of HDF5 files, in the order of their numbers."""

    kind = "episodic HDF5"

    is_bgr = False

    def files(self) -> list[Path]:
        """Return the file of each episode."""
        return [self.root / name for name in self.episodes.names]

    def read_blocks(
        self, parts: Sequence[str], *, small: bool
    ) -> Iterator[tuple[slice, dict[str, Any]]]:
        """Yield the values file by file."""
        lengths = self.episodes.length.tolist()
        for path, start, length in zip(
            self.files(), self.episodes.start.tolist(), lengths, strict=True
        ):
            with open_hdf5(path) as file:
                for frames in frame_blocks(length, small=small):
                    rows = slice(start + frames.start, start + frames.stop)
                    yield rows, {part: file[part][frames] for part in parts}

    def arrange_channels(self, frame_chw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frame in the order red, green, blue."""
        return frame_chw[::-1] if self.is_bgr else frame_chw


def open_episodic_hdf5(
    root: Path,
    *,
    fps: float,
    task: str = "",
    state: Sequence[str] = (),
    is_bgr: bool = False,
) -> EpisodicHdf5Source:
    """Open a folder of episodes.

    Args:
        root: The folder.
        fps: Frames per second.
        task: What the robot is asked to do.
        state: Arrays to concatenate into `observation.state`; `qpos` alone if there are none.
        is_bgr: Whether JPEG images have red and blue exchanged.

    Raises:
        DatasetError: A file cannot be read, is empty, or differs from the first one.
    """
    paths = episode_paths(root)
    arrays: dict[str, StoredArray] = {}
    lengths = []
    for path in paths:
        found, length = _look_into(path, arrays)
        arrays = arrays or found
        lengths.append(length)
    source = EpisodicHdf5Source(
        root,
        fps=fps,
        columns=named_columns(root, arrays, _column, state),
        episodes=Episodes.of_lengths(lengths, tuple(path.name for path in paths)),
        task=task,
        options=[list(state), is_bgr],
    )
    source.is_bgr = is_bgr
    return source


def episode_paths(root: Path) -> list[Path]:
    """Return the files of a folder in the order of the last number in their names.

    Raises:
        DatasetError: There are none, or no such folder.
    """
    if not root.exists():
        message = f"{root}: no such folder{missing_data_hint(root)}"
        raise DatasetError(message)
    found = [path for pattern in ("*.hdf5", "*.h5") for path in root.glob(pattern)]
    if not found:
        message = f"{root}: no episodes (episode_0.hdf5, ...) in this folder"
        raise DatasetError(message)
    return sorted(found, key=_number)


def broken_episodes(root: Path) -> list[tuple[Path, str]]:
    """Return the files that cannot be read or differ from the one with most arrays, and why.

    Raises:
        DatasetError: There are no files.
    """
    paths = episode_paths(root)
    richest: dict[str, StoredArray] = {}
    for path in paths:
        with suppress(DatasetError):
            richest = max(richest, _look_into(path, {})[0], key=len)
    broken = []
    for path in paths:
        try:
            _look_into(path, richest)
        except DatasetError as error:
            broken.append((path, str(error).removeprefix(f"{path}: ")))
    return broken


def _look_into(path: Path, first: dict[str, StoredArray]) -> tuple[dict[str, StoredArray], int]:
    """Return the arrays of a file and its frames, after a comparison with the first file."""
    with open_hdf5(path) as file:
        found = _arrays(path, file, first)
        return found, _length(path, file, found, first or found)


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else -1, path.name


def _arrays(path: Path, file: Any, known: dict[str, StoredArray]) -> dict[str, StoredArray]:
    top = group_items(path, file)
    if not is_array(top.get("action")):
        message = f"{path}: has no 'action'"
        raise DatasetError(message)
    observations = group_items(path, top["observations"]) if "observations" in top else {}
    images = group_items(path, observations["images"]) if "images" in observations else {}
    found: dict[str, StoredArray] = {}
    for prefix, items in (("", top), (_OBSERVATIONS, observations), (_IMAGES, images)):
        for name, item in items.items():
            if is_array(item) and name not in _NOT_COLUMNS:
                key = f"{prefix}{name}"
                found[key] = (
                    _camera(path, item, known.get(key))
                    if prefix == _IMAGES
                    else (stored_array(item))
                )
    return found


def _camera(path: Path, item: Any, known: StoredArray | None) -> StoredArray:
    """Return what a camera holds; the size of encoded images is that of the first."""
    if item.ndim == 4:
        return stored_array(item)
    if (known is not None and known.is_encoded) or not len(item):
        return known or StoredArray("uint8", (1, 1, 3), is_encoded=True)
    where = f"{path}: '{item.name.lstrip('/')}' at frame 0"
    height, width = image_size(bytes(item[0]).rstrip(b"\0"), where)
    return StoredArray("uint8", (height, width, 3), is_encoded=True)


def _length(
    path: Path, file: Any, found: dict[str, StoredArray], first: dict[str, StoredArray]
) -> int:
    """Return the frames of an episode after a look at its arrays."""
    length = len(file["action"])
    if length < 1:
        message = f"{path}: has no frames"
        raise DatasetError(message)
    for key, array in first.items():
        if key not in found:
            message = f"{path}: has no '{key}', which other episodes have"
            raise DatasetError(message)
        if len(file[key]) != length or found[key].shape != array.shape:
            message = (
                f"{path}: '{key}' has shape {[len(file[key]), *found[key].shape]}, "
                f"expected {[length, *array.shape]}"
            )
            raise DatasetError(message)
    return length


def _column(key: str, array: StoredArray) -> StoredColumn:
    short = key.rpartition("/")[2]
    if key.startswith(_OBSERVATIONS):
        place = "observation.images" if is_image(array) else "observation"
        return StoredColumn.of(f"{place}.{_NAMES.get(short, short)}", key, array)
    return StoredColumn.of(key, key, array)
