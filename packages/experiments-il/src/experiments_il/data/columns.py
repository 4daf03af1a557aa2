"""Arrow columns as numpy arrays: lengths, types and nulls checked, each fault with its frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.arrow import pa, pc
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_format import Feature

__all__ = ["image_blobs", "numeric_values", "string_codes"]


def numeric_values(column: Any, feature: Feature, place: Callable[[int], str]) -> NDArray[Any]:
    """Return a numeric column as an array `(rows, *feature.item_shape)` of the declared dtype.

    Args:
        column: A `pyarrow.ChunkedArray`: scalars, or lists of any kind nested to any depth.
        feature: What was declared.
        place: Says where a row is (`episode 1, frame 3`), for messages.

    Raises:
        DatasetError: A value is null, has another length than declared, or cannot be cast.
    """
    array = _contiguous(column)
    sizes = feature.shape if _is_list(array.type) or feature.shape != (1,) else ()
    outer = 1
    for size in sizes:
        _refuse_nulls(array, outer, feature, place)
        _require_length(array, size, outer, feature, place)
        array = _contiguous(array.flatten())
        outer *= size
    _refuse_nulls(array, outer, feature, place)
    if _is_list(array.type):
        message = f"'{feature.name}' is nested deeper than its declared shape {list(feature.shape)}"
        raise DatasetError(message)
    values = _cast(array, feature).to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values, np.dtype(feature.dtype)).reshape(-1, *feature.item_shape)


def string_codes(
    column: Any, feature: Feature, place: Callable[[int], str]
) -> tuple[NDArray[np.int32], list[str]]:
    """Return a string column as codes `(rows,)` and the strings that the codes stand for."""
    array = _contiguous(column)
    _refuse_nulls(array, 1, feature, place)
    try:
        encoded = pc.cast(array, pa.large_string()).dictionary_encode()
    except pa.ArrowException as exc:
        message = f"'{feature.name}' holds {array.type}, declared string"
        raise DatasetError(message) from exc
    return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()


def image_blobs(column: Any, feature: Feature, place: Callable[[int], str]) -> list[bytes]:
    """Return the encoded images of a `struct<bytes, path>` column, one per row."""
    array = _contiguous(column)
    names = [field.name for field in array.type] if pa.types.is_struct(array.type) else []
    if "bytes" not in names:
        message = f"'{feature.name}' holds {array.type}; images are struct<bytes, path>"
        raise DatasetError(message)
    _refuse_nulls(array, 1, feature, place)
    blobs = array.field("bytes")
    _refuse_nulls(blobs, 1, feature, place)
    if not (pa.types.is_binary(blobs.type) or pa.types.is_large_binary(blobs.type)):
        message = f"'{feature.name}' holds images as {blobs.type}, expected binary"
        raise DatasetError(message)
    return list(blobs.to_pylist())


def _contiguous(column: Any) -> Any:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # older pyarrow keeps an empty one chunked
        array = pa.concat_arrays(array.chunks)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _is_list(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _refuse_nulls(array: Any, outer: int, feature: Feature, place: Callable[[int], str]) -> None:
    if array.null_count:
        row = int(pc.index(array.is_null(), True).as_py()) // outer
        message = f"'{feature.name}' is null at {place(row)}"
        raise DatasetError(message)


def _require_length(
    array: Any, size: int, outer: int, feature: Feature, place: Callable[[int], str]
) -> None:
    declared = f"declared shape {list(feature.shape)}"
    if not _is_list(array.type):
        message = f"'{feature.name}' holds {array.type}, {declared}"
        raise DatasetError(message)
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != size)
    if wrong.size:
        found = int(lengths[wrong[0]])
        where = place(int(wrong[0]) // outer)
        message = f"'{feature.name}' has length {found} instead of {size} at {where} ({declared})"
        raise DatasetError(message)


def _cast(array: Any, feature: Feature) -> Any:
    wanted = pa.bool_() if feature.dtype == "bool" else pa.from_numpy_dtype(feature.dtype)
    if array.type == wanted:
        return array
    try:
        if pa.types.is_string(array.type) or pa.types.is_boolean(array.type):
            raise pa.ArrowInvalid(str(array.type))  # arrow would parse text as numbers
        return pc.cast(array, wanted)
    except pa.ArrowException as exc:
        message = f"'{feature.name}' holds {array.type}, which does not fit {feature.dtype}"
        raise DatasetError(message) from exc
