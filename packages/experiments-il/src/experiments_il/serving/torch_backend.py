"""A policy of torch behind the server: numpy in, numpy out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from experiments_il.policy import Policy

__all__ = ["TorchBackend"]


class TorchBackend:
    """Calls a policy.

    Args:
        policy: The policy.
        device: Where its models are.
    """

    def __init__(self, policy: Policy, device: torch.device | str = "cpu") -> None:
        self._policy = policy
        self._device = torch.device(device)

    def infer(self, observation: Mapping[str, NDArray[Any]], noise: NDArray[Any]) -> NDArray[Any]:
        """Return chunks `(B, H, A)` of observations `(B, T, ...)` and their noise."""
        tensors = {
            key: torch.from_numpy(each).to(self._device) for key, each in observation.items()
        }
        chunks = self._policy.act(tensors, noise=torch.from_numpy(noise).to(self._device))
        found: NDArray[Any] = chunks.float().cpu().numpy()
        return found
