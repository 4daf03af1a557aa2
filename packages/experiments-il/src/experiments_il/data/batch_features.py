"""What the keys of a batch hold: shape and dtype, known from the declared features alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments_il.data.lerobot_format import Feature
    from trainer_core.protocols import Batch

__all__ = [
    "DEFAULT_REFERENCE",
    "FARTHEST",
    "INDEX_KEY",
    "BatchFeature",
    "batch_names",
    "describe_key",
    "empty_batch",
    "rows_at_once",
]

FARTHEST = 1_000_000
"""Frames that a window may reach from a sample: hours of any recording."""
_NUMBERS_AT_ONCE = 1 << 20
INDEX_KEY = "index"
DEFAULT_REFERENCE = "observation.state"
"""What relative actions are relative to if nothing else is said."""


@dataclass(frozen=True, slots=True)
class BatchFeature:
    """What a key of the batch holds, for every sample.

    Attributes:
        shape: Without the batch dimension.
        dtype: A torch dtype's name, or `str`.
    """

    shape: tuple[int, ...]
    dtype: str


def batch_names(
    features: Mapping[str, Feature], keys: Sequence[str] | None, windowed: Sequence[str]
) -> tuple[str, ...]:
    """Return the keys of a batch: those asked for, else all but strings, and the windowed ones."""
    if keys is None:
        keys = [name for name, feature in features.items() if feature.dtype != "string"]
    return tuple(dict.fromkeys([*keys, *windowed, INDEX_KEY]))


def describe_key(
    name: str, feature: Feature | None, length: int | None
) -> list[tuple[str, BatchFeature]]:
    """Return what a key holds, and its mask of padding if it has a window of some length."""
    if feature is None or feature.dtype == "string":
        return [(name, BatchFeature((), "str"))]
    number = "float32" if feature.dtype.startswith("float") else feature.dtype
    pixels = "uint8" if feature.depth is None else "float32"
    dtype = pixels if feature.is_frame else number
    if length is None:
        return [(name, BatchFeature(feature.item_shape, dtype))]
    return [
        (name, BatchFeature((length, *feature.item_shape), dtype)),
        (f"{name}_is_pad", BatchFeature((length,), "bool")),
    ]


def rows_at_once(
    features: Mapping[str, Feature], names: Sequence[str], batch: Mapping[str, BatchFeature]
) -> int:
    """Return how many samples are best read at once; 0 where frames or strings are among them.

    Args:
        features: Those of the data set.
        names: The keys that are read.
        batch: What each key of the batch holds.
    """
    if not all(name in features and features[name].is_numeric for name in names):
        return 0
    numbers = sum(math.prod(each.shape) for each in batch.values())
    return _NUMBERS_AT_ONCE // numbers


def empty_batch(
    features: Mapping[str, Feature],
    offsets: Mapping[str, Sequence[int]],
    keys: Sequence[str] | None,
    size: int,
) -> Batch:
    """Return a batch of `size` samples on the meta device: shapes and dtypes, no numbers."""
    import torch  # noqa: PLC0415 - the factory is also used where torch is not wanted

    batch: Batch = {}
    for name in batch_names(features, keys, tuple(offsets)):
        length = len(offsets[name]) if name in offsets else None
        for key, held in describe_key(name, features.get(name), length):
            if held.dtype == "str":
                batch[key] = [""] * size
            else:
                dtype = getattr(torch, held.dtype)
                batch[key] = torch.empty((size, *held.shape), dtype=dtype, device="meta")
    return batch
