"""robomimic's HDF5: one file, one group per demonstration, masks that name some of them.

Source: robomimic d309eae and its documentation.
"""

from __future__ import annotations

import json
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
from experiments_il.data.lerobot_format import nearest_hint
from experiments_il.data.stored_columns import StoredColumn, is_image, named_columns
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from experiments_il.data.stored_columns import StoredArray

__all__ = ["RobomimicSource", "open_robomimic"]

_OBSERVATIONS = "obs/"
_MOST_FPS = 1e6
_OTHERS = {
    "actions": ("action", ""),
    "rewards": ("next.reward", "float32"),
    "dones": ("next.done", "bool"),
}


class RobomimicSource(ArraySource):
    """The demonstrations of a robomimic file, in the order of their numbers."""

    kind = "robomimic HDF5"

    def files(self) -> list[Path]:
        """Return the file."""
        return [self.root]

    def read_blocks(
        self, parts: Sequence[str], *, small: bool
    ) -> Iterator[tuple[slice, dict[str, Any]]]:
        """Yield the values demonstration by demonstration."""
        episodes = self.episodes
        with open_hdf5(self.root) as file:
            for name, start, length in zip(
                episodes.names, episodes.start.tolist(), episodes.length.tolist(), strict=True
            ):
                demo = file["data"][name]
                for frames in frame_blocks(length, small=small):
                    rows = slice(start + frames.start, start + frames.stop)
                    yield rows, {part: demo[part][frames] for part in parts}

    def filtered(self, mask: str) -> list[int]:
        """Return the episodes that `mask/<mask>` names.

        Raises:
            DatasetError: There is no such mask, or it names a demonstration that is not there.
        """
        with open_hdf5(self.root) as file:
            masks = file.get("mask", {})
            if mask not in masks:
                hint = nearest_hint(mask, masks) if len(masks) else "; the file has no masks"
                message = f"{self.root}: filter: there is no mask '{mask}'{hint}"
                raise DatasetError(message)
            names = [_text(name) for name in masks[mask][()].tolist()]
        numbers = {name: number for number, name in enumerate(self.episodes.names)}
        unknown = [name for name in names if name not in numbers]
        if unknown:
            message = f"{self.root}: mask/{mask} names '{unknown[0]}', which is not in the file"
            raise DatasetError(message)
        return sorted(numbers[name] for name in names)


def open_robomimic(
    path: Path, *, fps: float | None = None, state: Sequence[str] = ()
) -> RobomimicSource:
    """Open a robomimic file.

    Args:
        path: The file.
        fps: Frames per second; None for the control frequency in `env_args`.
        state: Observations to concatenate into `observation.state`.

    Raises:
        DatasetError: The file cannot be read, has no frame rate, or its demonstrations differ.
    """
    with open_hdf5(path) as file:
        demos = _demonstrations(path, file)
        names = sorted(demos, key=_number)
        if not names:
            message = f"{path}: has no demonstrations (data/demo_0, ...)"
            raise DatasetError(message)
        arrays = _arrays(path, names[0], demos[names[0]])
        lengths = [_length(path, name, demos[name], arrays) for name in names]
        settings = _env_args(path, file["data"].attrs.get("env_args"))
    if fps is None:
        kwargs = settings.get("env_kwargs")
        fps = kwargs.get("control_freq") if isinstance(kwargs, dict) else None
    if not isinstance(fps, int | float) or not 0 < fps <= _MOST_FPS:
        message = f"{path}: records no frame rate; give it with 'fps' (robosuite: often 20)"
        raise DatasetError(message)
    return RobomimicSource(
        path,
        fps=float(fps),
        columns=named_columns(path, arrays, _column, state),
        episodes=Episodes.of_lengths(lengths, tuple(names)),
        task=str(settings.get("env_name", "")),
        options=list(state),
    )


def broken_demonstrations(path: Path) -> list[tuple[int, str]]:
    """Return the demonstrations that differ from the one with most arrays, and why.

    Raises:
        DatasetError: The file cannot be read at all.
    """
    broken = []
    with open_hdf5(path) as file:
        demos = _demonstrations(path, file)
        names = sorted(demos, key=_number)
        richest: dict[str, StoredArray] = {}
        for name in names:
            with suppress(DatasetError):
                richest = max(richest, _arrays(path, name, demos[name]), key=len)
        for number, name in enumerate(names):
            try:
                _arrays(path, name, demos[name])
                _length(path, name, demos[name], richest)
            except DatasetError as error:
                broken.append((number, str(error).removeprefix(f"{path}: ")))
    return broken


def _number(name: str) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", name)
    return int(digits[1]) if digits else -1, name


def _demonstrations(path: Path, file: Any) -> dict[str, Any]:
    """Return what lies in `data`, by name; nothing if there is no such group."""
    return group_items(path, file["data"]) if "data" in group_items(path, file) else {}


def _arrays(path: Path, name: str, demo: Any) -> dict[str, StoredArray]:
    items = group_items(path, demo)
    if not is_array(items.get("actions")):
        message = f"{path}: {name} has no 'actions'"
        raise DatasetError(message)
    observations = group_items(path, items["obs"]) if "obs" in items else {}
    found = {
        f"{_OBSERVATIONS}{key}": stored_array(item)
        for key, item in observations.items()
        if is_array(item)
    }
    return found | {key: stored_array(items[key]) for key in _OTHERS if is_array(items.get(key))}


def _length(path: Path, name: str, demo: Any, arrays: dict[str, StoredArray]) -> int:
    """Return the frames of a demonstration after a look at its arrays."""
    group_items(path, demo)
    counted = demo.attrs.get("num_samples")
    if counted is None:
        counted = len(demo["actions"]) if is_array(demo.get("actions")) else 0
    try:
        length = int(counted)
    except (TypeError, ValueError, OverflowError) as exc:
        message = f"{path}: 'num_samples' of {name} is {counted!r}, expected a number"
        raise DatasetError(message) from exc
    if length < 1:
        message = f"{path}: {name} has no frames"
        raise DatasetError(message)
    for key, array in arrays.items():
        if not is_array(demo.get(key)):
            message = f"{path}: {name} has no '{key}', which other demonstrations have"
            raise DatasetError(message)
        if demo[key].shape != (length, *array.shape):
            message = (
                f"{path}: '{key}' of {name} has shape {list(demo[key].shape)}, "
                f"expected {[length, *array.shape]}"
            )
            raise DatasetError(message)
    return length


def _env_args(path: Path, text: Any) -> dict[str, Any]:
    try:
        document = json.loads(text) if isinstance(text, str | bytes) else {}
    except (ValueError, RecursionError) as exc:
        message = f"{path}: the attribute 'env_args' of 'data' is not JSON: {exc}"
        raise DatasetError(message) from exc
    return document if isinstance(document, dict) else {}


def _column(key: str, array: StoredArray) -> StoredColumn:
    if key in _OTHERS:
        name, dtype = _OTHERS[key]
        return StoredColumn.of(name, key, array, dtype)
    short = key.removeprefix(_OBSERVATIONS)
    name = f"observation.images.{short}" if is_image(array) else f"observation.{short}"
    return StoredColumn.of(name, key, array)


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
