"""What recording and evaluation ask of a simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Environment", "Observation", "Outcome"]

Observation: TypeAlias = "Mapping[str, NDArray[Any]]"
"""Key to float32 numbers `(D,)` or to a picture uint8 `(3, height, width)`."""


class Outcome(NamedTuple):
    """What a step brought.

    Attributes:
        observation: What is seen after the step.
        reward: The simulator's own reward.
        success: Whether the task is solved in this step.
        done: Whether the simulator itself ends the episode here.
    """

    observation: Observation
    reward: float
    success: bool
    done: bool


class Environment(Protocol):
    """One simulated robot with a task. Episodes are numbered; a number fixes all of an episode.

    Attributes:
        action_dim: Dimensions of an action.
        fps: Steps a second.
        max_steps: Steps after which the simulator ends an episode at the latest.
        observation_shapes: Shape by key of what `reset` and `step` return.
        action_low: Smallest action `(action_dim,)`.
        action_high: Largest action `(action_dim,)`.
    """

    action_dim: int
    fps: int
    max_steps: int
    observation_shapes: Mapping[str, tuple[int, ...]]
    action_low: NDArray[np.float64]
    action_high: NDArray[np.float64]

    @property
    def state(self) -> NDArray[np.float64]:
        """The simulator's own numbers `(D,)`, which scripted experts read."""
        ...

    def reset(self, episode: int) -> Observation:
        """Begin an episode; its start is a function of (task, seed, episode)."""
        ...

    def step(self, action: NDArray[Any]) -> Outcome:
        """Do an action `(action_dim,)`, clipped to the smallest and the largest."""
        ...

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture for people, uint8 `(height, width, 3)` with even sides.

        None where pictures cannot be drawn.
        """
        ...

    def close(self) -> None:
        """Give back what the simulator holds."""
        ...
