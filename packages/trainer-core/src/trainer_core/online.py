"""What learning from episodes of one's own asks of data sets and evaluators. Imports no torch.

A data set that is to be mixed with new episodes is `OnlineData`; an evaluator that can also play
for the sake of the episodes is an `EpisodeSource`. Runners put the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from trainer_core.protocols import Batch, EvaluationContext

__all__ = ["Episode", "EpisodeKey", "EpisodeSource", "OnlineData"]


@dataclass(frozen=True, slots=True)
class EpisodeKey:
    """A key of recorded episodes, and which frames of it belong to a sample.

    Attributes:
        shape: Shape of one frame.
        dtype: numpy's name of its numbers: `float32`, `uint8`, ...
        offsets: Frames relative to the sample, which give it a leading axis T; None: the sample's
            own frame, without that axis.
    """

    shape: tuple[int, ...]
    dtype: str
    offsets: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """What was played.

    Attributes:
        columns: The frames of each key, `(T, *shape)`: what was seen before a step, and the action
            that was done then.
        success: Whether the task was solved.
        error: What the simulator raised; such an episode is no data. Empty if it did not.
    """

    columns: Mapping[str, NDArray[Any]]
    success: bool
    error: str = ""


@runtime_checkable
class OnlineData(Protocol):
    """A data set whose batches can also be made of episodes that it does not hold."""

    @property
    def episode_keys(self) -> Mapping[str, EpisodeKey]:
        """What an episode has to bring, by key."""
        ...

    def batch_of_windows(self, windows: Mapping[str, NDArray[Any]]) -> Batch:
        """Return what `__getitems__` would, had the data set recorded these samples.

        Args:
            windows: For each of `episode_keys` the frames `(B, T, *shape)`, the nearest one
                repeated beyond the edges of the episode, and `<key>_is_pad`, bool `(B, T)`;
                without offsets `(B, *shape)` alone. The arrays are the data set's to change.
        """
        ...


@runtime_checkable
class EpisodeSource(Protocol):
    """An evaluator that can play without end, for the episodes."""

    def collect(
        self, context: EvaluationContext, send: Callable[[Episode], None], *, first: int = 0
    ) -> None:
        """Play episodes until `context.interrupted()`.

        Args:
            context: What acts. Its models may get other weights during `send`.
            send: Called with every episode when it is over, in the thread of the caller.
            first: Number of the first episode. A number fixes the start of an episode.

        Raises:
            UserError: The trainer has no policy, or the policy needs what the simulator lacks.
            TrainerError: The simulator breaks down in every episode.
        """
        ...
