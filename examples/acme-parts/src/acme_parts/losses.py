"""The Huber loss as a component: `loss: {_type_: huber, delta: 0.5}`."""

from __future__ import annotations

from torch import nn

__all__ = ["Huber"]


class Huber:
    """Squared near the target, absolute far from it: outliers pull less.

    Args:
        delta: Error at which the loss turns from squared to absolute. Larger: more like the mean
            squared error; smaller: less pull by outliers.

    Raises:
        ValueError: `delta` is not positive.
    """

    def __init__(self, delta: float = 1.0) -> None:
        if delta <= 0:
            msg = f"delta must be positive, got {delta}"
            raise ValueError(msg)
        self.delta = delta

    def build(self) -> nn.Module:
        """Return the loss module, called as `loss(prediction, target)`."""
        return nn.HuberLoss(delta=self.delta)
