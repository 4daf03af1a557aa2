"""Where the time of training steps goes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Phases"]


@dataclass(slots=True)
class Phases:
    """Where the time of steps goes, in seconds of this process since it was last asked.

    Attributes:
        forward_s: In the losses.
        backward_s: In their gradients.
        optimizer_s: In clipping and the optimizers.
    """

    forward_s: float = 0.0
    backward_s: float = 0.0
    optimizer_s: float = 0.0

    def take(self, steps: int) -> dict[str, float]:
        """Return the means over so many steps by name, and begin anew."""
        means = {
            "forward_s": self.forward_s / steps,
            "backward_s": self.backward_s / steps,
            "optimizer_s": self.optimizer_s / steps,
        }
        self.forward_s = self.backward_s = self.optimizer_s = 0.0
        return means
