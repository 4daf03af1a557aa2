"""A regression problem with one answer: the quickest way to see whether training works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from trainer_core.api import Batch

__all__ = ["ConstantRegression"]


class _Rows:
    """Inputs `(N, x_dim)` with one target."""

    def __init__(self, x: torch.Tensor, value: float) -> None:
        self.x = x
        self.value = value

    def __len__(self) -> int:
        return len(self.x)

    def __getitems__(self, indices: NDArray[np.int64]) -> Batch:
        x = self.x[torch.from_numpy(indices)]
        return {"x": x, "y": torch.full((len(x), 1), self.value)}


class ConstantRegression:
    """Random inputs whose target is always the same value.

    Batches have `x` `(B, x_dim)` and `y` `(B, 1)`, both float32.

    Args:
        value: The target of every sample.
        x_dim: Features of an input.
        size: Samples.
    """

    def __init__(self, value: float = 1.0, x_dim: int = 4, size: int = 256) -> None:
        self.value = value
        self.x_dim = x_dim
        self.size = size

    def build(self, opt_params: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data set with the statistics of its inputs."""
        del opt_params, params
        x = torch.randn(self.size, self.x_dim, generator=torch.Generator().manual_seed(0))
        mean, std = x.mean(dim=0).tolist(), x.std(dim=0).tolist()
        stats = {"x": {"mode": "mean_std", "mean": mean, "std": std}}
        return {"dataset": _Rows(x, self.value), "norm_stats": stats}
