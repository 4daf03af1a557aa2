"""Example batches for tracing and for the numeric check, made from what a checkpoint tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.normalize import Normalizer
    from trainer_core.protocols import Batch

__all__ = ["example_batch"]


def example_batch(
    keys: Mapping[str, Mapping[str, Any]], normalizer: Normalizer, size: int, seed: int
) -> Batch:
    """Return a batch as the data set could give it, in its units, on the CPU.

    Numbers are normal about the statistics of a key, bytes uniform; other integers are 0 and masks
    False.

    Args:
        keys: `shape` without the batch dimension, and `dtype`, by key; others are left out.
        normalizer: Statistics of the data set.
        size: Samples.
        seed: Of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for key, spec in keys.items():
        dtype = getattr(torch, str(spec["dtype"]), None)
        if not isinstance(dtype, torch.dtype):
            continue  # strings
        shape = (size, *spec["shape"])
        if dtype == torch.uint8:
            batch[key] = torch.randint(256, shape, generator=generator, dtype=dtype)
        elif dtype.is_floating_point:
            numbers = torch.randn(shape, generator=generator).to(dtype)
            known = key in normalizer.keys
            batch[key] = normalizer.unnormalize(key, numbers) if known else numbers
        else:
            batch[key] = torch.zeros(shape, dtype=dtype)
    return batch
