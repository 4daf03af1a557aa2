"""What the keys of a batch hold: shape and dtype, known from the declared features alone."""

from __future__ import annotations

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
]

FARTHEST = 1_000_000
"""Frames that a window may reach from a sample: hours of any recording."""
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
