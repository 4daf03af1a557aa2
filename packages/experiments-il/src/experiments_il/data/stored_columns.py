"""Arrays of HDF5 and zarr files under the names that LeRobot gives to their content."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments_il.data.lerobot_format import (
    MOST_VALUES,
    NUMERIC_DTYPES,
    Feature,
    nearest_hint,
)
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["StoredArray", "StoredColumn", "is_image", "named_columns"]

STATE = "observation.state"
_CHANNELS = frozenset({1, 3, 4})
_CHANNEL_FIRST = ("channels", "height", "width")


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a file, one value per frame.

    Attributes:
        dtype: A numpy name.
        shape: Of one frame's value, without the dimension of frames.
        is_encoded: Whether it holds encoded images (JPEG, PNG); `shape` is that of an image then.
    """

    dtype: str
    shape: tuple[int, ...]
    is_encoded: bool = False


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column and the arrays it comes from; several are concatenated.

    Attributes:
        feature: Name, dtype and shape as for a LeRobotDataset.
        parts: Names in the file, in order.
    """

    feature: Feature
    parts: tuple[str, ...]

    @classmethod
    def of(cls, name: str, key: str, array: StoredArray, dtype: str = "") -> StoredColumn:
        """Return the column that holds one array.

        Args:
            name: Name of the column.
            key: Name in the file.
            array: What is there.
            dtype: Another dtype than the stored one.

        Raises:
            DatasetError: The values are neither numbers nor images.
        """
        if not 0 < math.prod(array.shape) <= MOST_VALUES:
            message = f"'{key}' has shape {list(array.shape)} per frame: no or too many values"
            raise DatasetError(message)
        if is_image(array):
            names = None if array.shape[-1] in _CHANNELS else _CHANNEL_FIRST
            return cls(Feature(name, "image", array.shape, names), (key,))
        dtype = dtype or array.dtype
        if dtype not in NUMERIC_DTYPES:
            message = f"'{key}' holds {array.dtype}, expected numbers or images"
            raise DatasetError(message)
        return cls(Feature(name, dtype, array.shape or (1,)), (key,))


def is_image(array: StoredArray) -> bool:
    """Return whether frames are images: uint8 with 1, 3 or 4 channels, or floats with 3."""
    if len(array.shape) != 3:
        return False
    ends = {array.shape[0], array.shape[-1]}
    if array.dtype == "uint8":
        return array.is_encoded or bool(ends & _CHANNELS)
    return array.dtype.startswith("float") and array.shape[-1] == 3


def named_columns(
    path: Path,
    arrays: Mapping[str, StoredArray],
    make: Callable[[str, StoredArray], StoredColumn],
    state: Sequence[str],
) -> dict[str, StoredColumn]:
    """Return the columns of some arrays by feature name.

    Args:
        path: The file, for messages.
        arrays: What is there, by name in the file; what follows the last `/` is the user's name.
        make: Returns the column of an array.
        state: Arrays to concatenate into `observation.state`, by the user's name.

    Raises:
        DatasetError: An array holds no numbers, or `state` does not fit.
    """
    try:
        made = [make(key, array) for key, array in arrays.items()]
        columns = {column.feature.name: column for column in made}
        short = {key.rpartition("/")[2]: array for key, array in arrays.items()}
        return _join_state(columns, short, state)
    except DatasetError as exc:
        message = f"{path}: {exc}"
        raise DatasetError(message) from exc


def _join_state(
    columns: Mapping[str, StoredColumn], arrays: Mapping[str, StoredArray], state: Sequence[str]
) -> dict[str, StoredColumn]:
    """Return the columns with some of them concatenated into `observation.state`."""
    if not state:
        return dict(columns)
    parts: list[str] = []
    width, dtypes = 0, set()
    for name in state:
        if name not in arrays:
            message = f"state: there is no '{name}'{nearest_hint(name, arrays)}"
            raise DatasetError(message)
        array = arrays[name]
        if len(array.shape) > 1 or array.dtype not in NUMERIC_DTYPES:
            message = f"state: '{name}' has shape {list(array.shape)} per frame, expected a vector"
            raise DatasetError(message)
        parts += _parts_of(columns, name)
        width += array.shape[0] if array.shape else 1
        dtypes.add(array.dtype)
    rest = {name: column for name, column in columns.items() if column.parts[0] not in parts}
    if STATE in rest:
        message = f"state: must name '{rest[STATE].parts[0]}' too, which is {STATE} already"
        raise DatasetError(message)
    dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
    return {STATE: StoredColumn(Feature(STATE, dtype, (width,)), tuple(parts)), **rest}


def _parts_of(columns: Mapping[str, StoredColumn], name: str) -> tuple[str, ...]:
    for column in columns.values():
        if column.parts[0].rpartition("/")[2] == name:
            return column.parts
    raise KeyError(name)
