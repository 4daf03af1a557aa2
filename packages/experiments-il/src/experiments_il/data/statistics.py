"""Statistics of columns in LeRobot's layout, and the part of them that normalises a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from experiments_il.data.column_store import ColumnStore

__all__ = [
    "MODES",
    "QUANTILES",
    "camera_statistics",
    "column_statistics",
    "depth_statistics",
    "extreme_values",
    "merge_statistics",
    "norm_stats",
]

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
    # Squares of large numbers overflow: work near 1. A power of two changes no digit.
    largest = np.abs(ordered[[0, -1]]).max(axis=0)
    scale = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    scaled = ordered / scale
    statistics = {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": scaled.mean(axis=0) * scale,
        "std": scaled.std(axis=0) * scale,
        "count": np.array([frames], np.float64),
    }
    for quantile in QUANTILES:
        position = quantile * (frames - 1)
        low = int(position)
        high = min(low + 1, frames - 1)
        between = scaled[low] + (position - low) * (scaled[high] - scaled[low])
        statistics[_quantile_name(quantile)] = between * scale
    return statistics


def camera_statistics(frames_NHWC: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:  # noqa: N803 - shape suffix
    """Return the statistics of a camera's frames, scaled to [0, 1], in LeRobot's layout.

    Like LeRobot, takes `n^0.75` evenly spaced frames (at least 100 where there are so many) and
    every `int(side / 150)`th pixel of large frames.

    Args:
        frames_NHWC: uint8 `(frames, height, width, channels)`.

    Returns:
        float64 `(channels, 1, 1)` by name; `count` is `(1,)`, the frames looked at.
    """
    pixels = _some_pixels(frames_NHWC)
    channels = [_level_statistics(pixels[..., c]) for c in range(pixels.shape[-1])]
    merged = {
        name: np.array([channel[name] for channel in channels]).reshape(-1, 1, 1) / 255
        for name in channels[0]
    }
    return {**merged, "count": np.array([len(pixels)], np.float64)}


def depth_statistics(metres_NHW1: NDArray[np.floating[Any]]) -> dict[str, NDArray[np.float64]]:  # noqa: N803 - shape suffix
    """Return the statistics of a depth camera's frames in metres, of the same frames and pixels.

    Args:
        metres_NHW1: `(frames, height, width, 1)`.

    Returns:
        As `camera_statistics`.
    """
    pixels = _some_pixels(metres_NHW1)
    found = column_statistics(pixels.reshape(-1, 1))
    return {name: values.reshape(-1, 1, 1) for name, values in found.items() if name != "count"} | {
        "count": np.array([len(pixels)], np.float64)
    }


def _some_pixels(frames_NHWC: NDArray[Any]) -> NDArray[Any]:  # noqa: N803 - shape suffix
    frames = len(frames_NHWC)
    looked_at = min(frames, int(np.clip(frames**0.75, 100, 10_000)))
    chosen = np.linspace(0, frames - 1, looked_at).round().astype(int)
    side = max(frames_NHWC.shape[1:3])
    stride = int(side / 150) if side >= 300 else 1
    return frames_NHWC[chosen, ::stride, ::stride]


def _level_statistics(levels: NDArray[np.uint8]) -> dict[str, float]:
    """Return exact statistics of uint8 values from their 256-bin histogram."""
    counts = np.bincount(levels.ravel(), minlength=256)
    total, values = int(counts.sum()), np.arange(256)
    mean = float(counts @ values) / total
    present = np.flatnonzero(counts)
    statistics = {
        "min": float(present[0]),
        "max": float(present[-1]),
        "mean": mean,
        "std": float(np.sqrt(counts @ (values - mean) ** 2 / total)),
    }
    below = np.cumsum(counts)
    for quantile in QUANTILES:
        position = quantile * (total - 1)
        low, high = np.searchsorted(below, [int(position), int(np.ceil(position))], side="right")
        statistics[_quantile_name(quantile)] = float(low + (position % 1) * (high - low))
    return statistics


def merge_statistics(parts: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of all parts together.

    min, max, mean and std are exact (parallel variance); quantiles are the mean of the parts'
    quantiles, weighted by count, which is an approximation (LeRobot 0.6.1 does the same); those
    that a part lacks are left out.
    """
    names = [name for name in parts[0] if all(name in part for part in parts)]
    stacked = {name: np.array([part[name] for part in parts], np.float64) for name in names}
    counts = stacked["count"].reshape(-1, *[1] * (stacked["mean"].ndim - 1))
    weights = counts / counts.sum()
    mean = (weights * stacked["mean"]).sum(axis=0)
    spread = stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2
    merged = {
        "min": stacked["min"].min(axis=0),
        "max": stacked["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt((weights * spread).sum(axis=0)),
        "count": stacked["count"].sum(axis=0),
    }
    quantiles = [_quantile_name(quantile) for quantile in QUANTILES]
    known = [name for name in quantiles if name in stacked]
    return merged | {name: (weights * stacked[name]).sum(axis=0) for name in known}


def _quantile_name(quantile: float) -> str:
    return f"q{round(100 * quantile):02d}"


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
        feature = store.source.features[key]
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


def extreme_values(statistics: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the smallest minimum and the largest maximum of a feature; None where unknown."""
    try:
        low = float(np.min(statistics["min"]))
        high = float(np.max(statistics["max"]))
    except (KeyError, TypeError, ValueError):
        return None, None
    return low, high
