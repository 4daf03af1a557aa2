"""Statistics of columns in LeRobot's layout, and the part of them that normalises a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from experiments_il.data.column_store import ColumnStore

__all__ = ["MODES", "QUANTILES", "column_statistics", "norm_stats"]

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
MODES: dict[str, tuple[str, ...]] = {
    "mean_std": ("mean", "std"),
    "min_max": ("min", "max"),
    "quantiles": ("q01", "q99"),
    "identity": (),
}
"""The statistics that each way of normalising needs."""


def column_statistics(values_ND: NDArray[Any]) -> dict[str, NDArray[np.float64]]:  # noqa: N803 - shape suffix
    """Return min, max, mean, population std, exact quantiles and count of each dimension.

    Quantiles interpolate linearly between the sorted values, as `numpy.quantile` does; LeRobot's
    own come from histograms and from averages over episodes.

    Args:
        values_ND: Numbers or booleans `(frames, dimensions)`, at least one frame.

    Returns:
        float64 `(dimensions,)` under `min, max, mean, std, q01, q10, q50, q90, q99`; `count` is
        `(1,)`.
    """
    ordered = np.sort(values_ND.astype(np.float64), axis=0)
    frames = len(ordered)
    statistics = {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": ordered.mean(axis=0),
        "std": ordered.std(axis=0),
        "count": np.array([frames], np.float64),
    }
    for quantile in QUANTILES:
        position = quantile * (frames - 1)
        low = int(position)
        high = min(low + 1, frames - 1)
        between = ordered[low] + (position - low) * (ordered[high] - ordered[low])
        statistics[f"q{round(100 * quantile):02d}"] = between
    return statistics


def norm_stats(
    modes: Mapping[str, str], stats: Mapping[str, Any], store: ColumnStore
) -> dict[str, dict[str, Any]]:
    """Return what the engine needs to normalise a batch, as JSON data.

    Statistics are taken from the data set's `stats.json`; what it lacks (quantiles, in older sets)
    is computed from the column.

    Args:
        modes: `mean_std`, `min_max`, `quantiles` or `identity`, by key.
        stats: The content of `meta/stats.json`.
        store: The columns.

    Raises:
        DatasetError: A key is not a floating-point feature, or its statistics have a wrong shape.
    """
    result: dict[str, dict[str, Any]] = {}
    for key, mode in modes.items():
        feature = store.metadata.info.features[key]
        if mode != "identity" and not feature.dtype.startswith("float"):
            advice = "the trainer scales frames" if feature.is_frame else "only float features are"
            message = f"'{key}' is {feature.dtype} and cannot be normalised with {mode}: {advice}"
            raise DatasetError(message)
        known = stats.get(key) or {}
        if any(name not in known for name in MODES[mode]):
            column = store.numbers(key)
            known = {
                name: value.reshape(feature.shape).tolist()
                for name, value in column_statistics(column.reshape(len(column), -1)).items()
                if name != "count"
            }
        result[key] = {"mode": mode}
        for name in MODES[mode]:
            result[key][name] = _require_shape(known[name], key, name, feature.shape)
    return result


def _require_shape(values: Any, key: str, name: str, shape: tuple[int, ...]) -> Any:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        message = (
            f"meta/stats.json: '{name}' of '{key}' must hold finite numbers of shape {list(shape)}"
        )
        raise DatasetError(message)
    return array.tolist()
