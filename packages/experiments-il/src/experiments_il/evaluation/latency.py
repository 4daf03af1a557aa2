"""How long a policy takes to plan."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from experiments_il.policy import Policy

__all__ = ["MeasuredPolicy", "PlanTimes"]

_PERCENTILES = (50, 90, 99)


class PlanTimes:
    """Durations of the calls of a policy.

    Attributes:
        seconds: Of each call.
        batch_sizes: Chunks that each call returned.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.batch_sizes: list[int] = []

    def summarize(self) -> dict[str, float]:
        """Return percentiles in ms, the mean batch size and chunks per second; `{}` without calls.

        The first call pays for warming up: it is `first_ms`, and left out of all else if there are
        others.
        """
        if not self.seconds:
            return {}
        seconds, sizes = self.seconds[1:] or self.seconds, self.batch_sizes[1:] or self.batch_sizes
        values = 1e3 * np.percentile(seconds, _PERCENTILES)
        percentiles = {f"p{p}_ms": float(v) for p, v in zip(_PERCENTILES, values, strict=True)}
        return {
            "plans": len(self.seconds),
            **percentiles,
            "max_ms": 1e3 * max(seconds),
            "first_ms": 1e3 * self.seconds[0],
            "batch_size": sum(sizes) / len(sizes),
            "chunks_per_s": sum(sizes) / max(sum(seconds), 1e-9),
        }


class MeasuredPolicy:
    """A policy whose calls are timed, until their result is there; all else is the policy's.

    Args:
        policy: What plans.
        times: Where the durations go.
    """

    def __init__(self, policy: Policy, times: PlanTimes) -> None:
        self._policy = policy
        self._times = times

    def __getattr__(self, name: str) -> Any:
        """Return what the policy has by that name."""
        return getattr(self._policy, name)

    def act(self, observation: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        """Return chunks `(B, H, A)`; arguments as the policy's."""
        began = time.perf_counter()
        chunks = self._policy.act(observation, noise=noise)
        if chunks.is_cuda:
            torch.cuda.synchronize(chunks.device)
        self._times.seconds.append(time.perf_counter() - began)
        self._times.batch_sizes.append(len(chunks))
        return chunks
