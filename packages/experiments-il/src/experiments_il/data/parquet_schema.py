"""Features as arrow types, values as arrow columns, with the metadata that LeRobot writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.arrow import pa
from experiments_il.data.images import encode_png
from experiments_il.data.lerobot_format import DEFAULT_FEATURES, Feature, nearest_hint
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["check_frames", "data_schema", "data_table", "episodes_table", "tasks_table"]

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_ARRAY_EXTENSION = "datasets.features.features.Array{rank}DExtensionType"


def check_frames(features: Mapping[str, Feature], frames: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an episode by feature, in the declared dtype and shape.

    Args:
        features: The data set's features, the default ones included.
        frames: Values of every other feature: arrays `(frames, *shape)` (scalars also
            `(frames,)`), cameras uint8 `(frames, height, width, channels)`, strings as a sequence.

    Raises:
        DatasetError: A feature is missing, unknown, of another length, shape or dtype, or holds a
            number that is not finite.
    """
    defaults = {feature.name for feature in DEFAULT_FEATURES}
    wanted = {name: feature for name, feature in features.items() if name not in defaults}
    for name in frames:
        if name not in wanted:
            message = f"the data set has no feature '{name}'{nearest_hint(name, wanted)}"
            raise DatasetError(message)
    missing = [name for name in wanted if name not in frames]
    if missing:
        message = f"an episode needs {', '.join(repr(name) for name in missing)}"
        raise DatasetError(message)
    checked = {name: _check_values(wanted[name], frames[name]) for name in wanted}
    lengths = {name: len(values) for name, values in checked.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        message = f"an episode needs the same number of frames (at least 1) of each: {lengths}"
        raise DatasetError(message)
    return checked


def data_schema(features: Mapping[str, Feature]) -> Any:
    """Return the arrow schema of the data files."""
    fields = [_field(feature) for feature in features.values() if feature.dtype != "video"]
    described = {
        name: _describe(feature) for name, feature in features.items() if feature.dtype != "video"
    }
    metadata = {"huggingface": json.dumps({"info": {"features": described}})}
    return pa.schema(fields, metadata=metadata)


def data_table(features: Mapping[str, Feature], values: Mapping[str, Any], schema: Any) -> Any:
    """Return an episode's checked values as a `pyarrow.Table`."""
    columns = [_column(features[name], values[name]) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def tasks_table(tasks: Sequence[str]) -> Any:
    """Return `meta/tasks.parquet`: a pandas frame whose index is the task string."""
    text = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    number = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    names = {"task_index": number, "task": {**text, "metadata": None}}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [{**text, "metadata": {"encoding": "UTF-8"}}],
        "columns": [{**spec, "name": name, "field_name": name} for name, spec in names.items()],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table(
        {
            "task_index": pa.array(range(len(tasks)), pa.int64()),
            "task": pa.array(tasks, pa.string()),
        }
    )
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def episodes_table(episodes: Sequence[Mapping[str, Any]], chunk: int, file: int) -> Any:
    """Return `meta/episodes`: one row per episode.

    Args:
        episodes: Per episode the columns before the statistics, and `stats` as
            feature -> statistic -> nested list.
        chunk: Chunk number of the file this table goes to.
        file: File number.
    """
    columns = {
        name: [episode[name] for episode in episodes] for name in episodes[0] if name != "stats"
    }
    for feature, statistics in episodes[0]["stats"].items():
        for name in statistics:
            values = [episode["stats"][feature][name] for episode in episodes]
            columns[f"stats/{feature}/{name}"] = values
    columns["meta/episodes/chunk_index"] = [chunk] * len(episodes)
    columns["meta/episodes/file_index"] = [file] * len(episodes)
    return pa.table(columns)


def _check_values(feature: Feature, values: Any) -> Any:
    if feature.dtype == "string":
        texts = list(values)
        if not all(isinstance(text, str) for text in texts):
            message = f"'{feature.name}' must hold strings only"
            raise DatasetError(message)
        return texts
    array = np.asarray(values)
    if array.shape[1:] != feature.shape and not (array.ndim == 1 and feature.shape == (1,)):
        message = (
            f"'{feature.name}' has shape {list(array.shape)}, "
            f"expected [frames, {', '.join(str(size) for size in feature.shape)}]"
        )
        raise DatasetError(message)
    is_picture = feature.is_frame and feature.depth is None
    dtype = np.dtype(feature.stored_dtype)
    if not np.can_cast(array.dtype, dtype, "safe" if is_picture else "same_kind"):
        message = f"'{feature.name}' holds {array.dtype}, declared {feature.dtype}"
        raise DatasetError(message)
    array = array.astype(dtype, copy=False)
    if dtype.kind == "f" and not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0, 0])
        message = f"'{feature.name}' is not finite at frame {frame}"
        raise DatasetError(message)
    return array


def _primitive(feature: Feature) -> Any:
    if feature.dtype == "bool":
        return pa.bool_()
    return pa.string() if feature.dtype == "string" else pa.from_numpy_dtype(feature.dtype)


def _field(feature: Feature) -> Any:
    if feature.dtype == "image":
        return pa.field(feature.name, _IMAGE)
    kind = _primitive(feature)
    if feature.shape == (1,):
        return pa.field(feature.name, kind)
    if len(feature.shape) == 1:
        return pa.field(feature.name, pa.list_(pa.field("element", kind), feature.shape[0]))
    for _size in feature.shape:
        kind = pa.list_(pa.field("element", kind))
    extension = {
        "ARROW:extension:name": _ARRAY_EXTENSION.format(rank=len(feature.shape)),
        "ARROW:extension:metadata": json.dumps([list(feature.shape), feature.dtype]),
    }
    return pa.field(feature.name, kind, metadata=extension)


def _describe(feature: Feature) -> dict[str, Any]:
    """Return the feature in the words of the `datasets` package."""
    if feature.dtype == "image":
        return {"_type": "Image"}
    value = {"dtype": feature.dtype, "_type": "Value"}
    if feature.shape == (1,):
        return value
    if len(feature.shape) == 1:
        return {"feature": value, "length": feature.shape[0], "_type": "List"}
    rank = len(feature.shape)
    return {"shape": list(feature.shape), "dtype": feature.dtype, "_type": f"Array{rank}D"}


def _column(feature: Feature, values: Any) -> Any:
    if feature.dtype == "image":
        frames = [
            {"bytes": encode_png(_to_hwc(feature, frame)), "path": f"frame-{number:06d}.png"}
            for number, frame in enumerate(values)
        ]
        return pa.array(frames, _IMAGE)
    if feature.dtype == "string":
        return pa.array(values, pa.string())
    array = pa.array(np.ascontiguousarray(values).reshape(-1))
    if feature.shape == (1,):
        return array
    kind = _field(feature).type
    if len(feature.shape) == 1:
        return pa.FixedSizeListArray.from_arrays(array, type=kind)
    for size in reversed(feature.shape):
        offsets = pa.array(np.arange(0, len(array) + 1, size, dtype=np.int32))
        array = pa.ListArray.from_arrays(offsets, array)
    return array.cast(kind)


def _to_hwc(feature: Feature, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frame.transpose(1, 2, 0) if feature.is_channel_first else frame
