"""Statistics of recorded episodes: of one while it is written, of all when the set is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.arrow import read_table
from experiments_il.data.columns import numeric_values
from experiments_il.data.statistics import (
    camera_statistics,
    column_statistics,
    depth_statistics,
    merge_statistics,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_format import Feature

__all__ = ["dataset_statistics", "episode_statistics"]


def episode_statistics(
    features: Mapping[str, Feature], values: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return one episode's statistics as JSON data; numbers of all features go through one sort.

    Args:
        features: The data set's features.
        values: Checked values by feature, `(frames, ...)`.
    """
    numeric = [name for name, feature in features.items() if feature.is_numeric]
    blocks = [np.asarray(values[name]).reshape(len(values[name]), -1) for name in numeric]
    together = column_statistics(np.concatenate(blocks, axis=1, dtype=np.float64))
    edges = np.cumsum([block.shape[1] for block in blocks])[:-1]
    split = {
        key: np.split(array, edges) if key != "count" else [array] * len(blocks)
        for key, array in together.items()
    }
    result = {
        name: _to_json({key: parts[number] for key, parts in split.items()})
        for number, name in enumerate(numeric)
    }
    for name, feature in features.items():
        if feature.is_frame:
            order = (0, 2, 3, 1) if feature.is_channel_first else (0, 1, 2, 3)
            frames = values[name].transpose(order)
            describe = camera_statistics if feature.depth is None else depth_statistics
            result[name] = _to_json(describe(frames))
    return result


def dataset_statistics(
    features: Mapping[str, Feature],
    files: Sequence[Path],
    cameras: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, dict[str, Any]]:
    """Return the statistics of a whole data set as JSON data.

    Args:
        features: The data set's features.
        files: All its data files; numbers are read back, so that quantiles are exact.
        cameras: Statistics to merge, by camera: those of earlier episodes and of each new one.
    """
    result: dict[str, dict[str, Any]] = {}
    for name, feature in features.items():
        if feature.is_numeric:
            column = np.concatenate([_read_numbers(path, feature) for path in files])
            result[name] = _to_json(column_statistics(column))
        elif feature.is_frame:
            result[name] = _to_json(merge_statistics(cameras[name]))
    return result


def _read_numbers(path: Path, feature: Feature) -> NDArray[Any]:
    column = read_table(path, [feature.name])[feature.name]
    values = numeric_values(column, feature, lambda row: f"row {row}")
    return values.reshape(len(values), -1)


def _to_json(statistics: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    return {
        name: [int(count) for count in values] if name == "count" else values.tolist()
        for name, values in statistics.items()
    }
