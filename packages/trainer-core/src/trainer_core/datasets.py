"""A synthetic regression problem: for first looks, tests and benchmarks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from trainer_core.protocols import Batch

__all__ = ["RandomRegression", "TensorDataset"]


class TensorDataset:
    """Tensors of one length; a batch is one gather per tensor.

    Args:
        columns: Tensors `(N, ...)` by batch key.
    """

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.columns = dict(columns)
        self._length = len(next(iter(self.columns.values())))

    def __len__(self) -> int:
        """Return N."""
        return self._length

    @property
    def features(self) -> dict[str, Tensor]:
        """Return a tensor with the shape and dtype of each key of a sample, on the meta device."""
        return {key: column[0].to("meta") for key, column in self.columns.items()}

    def __getitems__(self, indices: NDArray[np.int64]) -> Batch:
        """Return the rows of all columns, `(len(indices), ...)`."""
        rows = torch.from_numpy(indices)
        return {key: column.index_select(0, rows) for key, column in self.columns.items()}


class RandomRegression:
    """A smooth random function of random inputs, with noise.

    Batches have `x` `(B, *x_shape)`, `y` `(B, *y_shape)`, both float32, and `index` `(B,)`.

    Args:
        x_shape: Shape of an input.
        y_shape: Shape of a target.
        size: Samples of the training split.
        val_size: Samples of the validation split; 0: there is none.
        noise: Standard deviation of the noise on the targets, whose own is about 1.
        data_seed: Seed of the function and of the samples; not the run's seed.

    Raises:
        ValueError: A shape or a size is not positive, or the noise is negative.
    """

    batch_keys: ClassVar = "trainer_core.experiment.own_batches:random_regression"

    def __init__(
        self,
        x_shape: Sequence[int],
        y_shape: Sequence[int],
        size: int = 1024,
        val_size: int = 0,
        noise: float = 0.1,
        data_seed: int = 0,
    ) -> None:
        for name, sizes in {"x_shape": x_shape, "y_shape": y_shape, "size": [size]}.items():
            if any(length < 1 for length in sizes):
                msg = f"{name} must be at least 1, got {min(sizes)}"
                raise ValueError(msg)
        if val_size < 0 or noise < 0:
            msg = f"val_size and noise must not be negative, got {val_size} and {noise}"
            raise ValueError(msg)
        self.x_shape = tuple(x_shape)
        self.y_shape = tuple(y_shape)
        self.size = size
        self.val_size = val_size
        self.noise = noise
        self.data_seed = data_seed

    def describe_batch(self, size: int) -> Batch:
        """Return a batch without numbers, for the check of shapes."""
        shapes = {"x": (size, *self.x_shape), "y": (size, *self.y_shape)}
        batch = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
        return {**batch, "index": torch.empty(size, dtype=torch.int64, device="meta")}

    def build(self, opt_params: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the splits; there is nothing to normalise."""
        del opt_params, params
        generator = torch.Generator().manual_seed(derive_seed(self.data_seed, "regression"))
        total = self.size + self.val_size
        inputs, outputs = math.prod(self.x_shape), math.prod(self.y_shape)
        x = torch.randn(total, inputs, generator=generator)
        weight = torch.randn(inputs, outputs, generator=generator) / math.sqrt(inputs)
        noise = torch.randn(total, outputs, generator=generator)
        y = torch.sin(2 * (x @ weight)) * math.sqrt(2) + self.noise * noise
        columns = {
            "x": x.reshape(total, *self.x_shape),
            "y": y.reshape(total, *self.y_shape),
            "index": torch.arange(total),
        }
        splits: dict[str, Any] = {
            "dataset": TensorDataset({k: v[: self.size] for k, v in columns.items()}),
            "norm_stats": {},
        }
        if self.val_size:
            splits["val_dataset"] = TensorDataset({k: v[self.size :] for k, v in columns.items()})
        return splits
