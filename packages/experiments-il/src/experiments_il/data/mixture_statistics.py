"""Normalisation statistics of several data sets together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.statistics import MODES
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["merge_norm_stats", "pad_norm_stats"]


def pad_norm_stats(
    stats: Mapping[str, Mapping[str, Any]], pad: Mapping[str, int], fill: float = 0.0
) -> dict[str, dict[str, Any]]:
    """Return statistics as wide as the padded values; `fill` stands for what a set lacks.

    Args:
        stats: `{key: {"mode": ..., <statistic>: list}}`.
        pad: Width of the last dimension by key.
        fill: Zeros make a constant of 0, which normalisation leaves alone.
    """
    result: dict[str, dict[str, Any]] = {}
    for key, entry in stats.items():
        result[key] = {"mode": entry["mode"]}
        for name in MODES[entry["mode"]]:
            values = np.asarray(entry[name], np.float64)
            width = pad.get(key, values.shape[-1])
            missing = [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])]
            result[key][name] = np.pad(values, missing, constant_values=fill).tolist()
        if "relative" in entry:
            dims = entry["relative"]["dims"]
            wide = [*dims, *[None] * (pad.get(key, len(dims)) - len(dims))]
            result[key]["relative"] = {**entry["relative"], "dims": wide}
    return result


def merge_norm_stats(
    parts: Mapping[str, Mapping[str, Mapping[str, Any]]],
    shares: Sequence[float],
    pad: Mapping[str, int],
) -> dict[str, dict[str, Any]]:
    """Return the statistics of samples drawn from all data sets in given shares.

    Mean and standard deviation are exact; so are minimum and maximum. The 1st and 99th percentile
    are the lowest and the highest of the data sets'. A dimension counts where it is there.

    Args:
        parts: The statistics by data set.
        shares: The share of each.
        pad: Width of the last dimension by key.

    Raises:
        DatasetError: A key is normalised in some data sets only, or in different ways.
    """
    check_same_modes(parts)
    padded = [pad_norm_stats(stats, pad, np.nan) for stats in parts.values()]
    _check_same_relations(list(parts), padded)
    merged: dict[str, dict[str, Any]] = {}
    for key, first in padded[0].items():
        columns = {
            name: np.array([each[key][name] for each in padded]) for name in MODES[first["mode"]]
        }
        together = _merge(columns, shares)
        values = {name: np.where(np.isfinite(each), each, 0.0) for name, each in together.items()}
        merged[key] = {
            "mode": first["mode"],
            **{name: each.tolist() for name, each in values.items()},
            **({"relative": first["relative"]} if "relative" in first else {}),
        }
    return merged


def check_same_modes(parts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Check that all data sets normalise the same keys in the same way.

    Raises:
        DatasetError: They do not.
    """
    (name, known), *others = parts.items()
    for other, stats in others:
        for key in sorted({*known, *stats}):
            ways = [each[key]["mode"] if key in each else "nothing" for each in (known, stats)]
            if ways[0] != ways[1]:
                message = (
                    f"normalize: '{key}' has {ways[0]} in '{name}' and {ways[1]} in '{other}'; "
                    "say the same for all"
                )
                raise DatasetError(message)


def _check_same_relations(names: Sequence[str], parts: Sequence[Mapping[str, Any]]) -> None:
    for key, entry in parts[0].items():
        for name, other in zip(names[1:], parts[1:], strict=True):
            if other[key].get("relative") != entry.get("relative"):
                message = (
                    f"relative_actions: '{key}' is relative in another way in '{names[0]}' than in "
                    f"'{name}'; say the same for all, or give 'statistics' the name of a data set"
                )
                raise DatasetError(message)


def _merge(
    columns: Mapping[str, NDArray[np.float64]], shares: Sequence[float]
) -> dict[str, NDArray[np.float64]]:
    """Return statistics over the first dimension; NaN marks what a data set lacks."""
    if "mean" not in columns:
        low, high = columns.values()
        names = list(columns)
        lowest = np.where(np.isnan(low), np.inf, low).min(axis=0)
        return {names[0]: lowest, names[1]: np.where(np.isnan(high), -np.inf, high).max(axis=0)}
    mean, std = columns["mean"], columns["std"]
    weights = np.asarray(shares, np.float64).reshape(-1, *[1] * (mean.ndim - 1))
    weights = np.where(np.isnan(mean), 0.0, weights)
    weights = weights / np.maximum(weights.sum(axis=0), np.finfo(np.float64).tiny)
    together = np.nansum(weights * mean, axis=0)
    spread = np.nansum(weights * (std**2 + (mean - together) ** 2), axis=0)
    return {"mean": together, "std": np.sqrt(spread)}
