"""Samples of the replay buffer as batches of the data set."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from trainer_core.errors import StorageError
from trainer_core.random import derive_seed
from trainer_core.tree import to_tensors
from trainer_ray.online.actors import explain, is_own
from trainer_ray.online.prefetch import LATER, LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from trainer_core.protocols import Batch
    from trainer_ray.online.actors import NamedActor

__all__ = ["BufferSamples", "Drawn", "to_batch"]

_log = logging.getLogger(__name__)


class Drawn(NamedTuple):
    """Where the samples of a batch are from.

    Attributes:
        versions: Of the weights that played them, int64 `(B,)`.
        rows: Names of their frames in the buffer, int64 `(B,)`.
    """

    versions: NDArray[np.int64]
    rows: NDArray[np.int64]


class BufferSamples:
    """Asks the buffer for samples; which ones is a function of seed, step and what is in it.

    Args:
        buffer: The replay buffer.
        size: Samples at a time.
        seed: The run's seed.
        before: Called before each question; sends the buffer what it is to know first.
    """

    def __init__(
        self,
        buffer: NamedActor,
        size: int,
        seed: int,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._buffer = buffer
        self._size = size
        self._seed = seed
        self._before = before
        self._told = ""

    def ask(self, number: int) -> Any:
        """Ask for the samples of a step."""
        self._before()
        seed = derive_seed(self._seed, "online", number)
        return self._buffer.ask("sample", self._size, seed)

    def fetch(self, ticket: Any, limit_s: float) -> Mapping[str, Any] | str:
        """Return the frames by key; LATER, LOST if the buffer is being restarted or is empty."""
        try:
            sample: Mapping[str, Any] = ray.get(ticket, timeout=limit_s)
        except GetTimeoutError:
            return LATER
        except RayActorError as error:
            self._buffer.revive(error)
            return LOST
        except RayError as error:
            explained = explain(error)
            if not isinstance(explained, StorageError) and is_own(error):
                raise explained from error
            self._tell(str(explained))  # its disk is full, or the store of objects
            return LOST
        return LOST if sample["windows"] is None else sample

    def _tell(self, reason: str) -> None:
        """Say once why a sample is asked for again."""
        if reason != self._told:
            self._told = reason
            _log.warning("the replay buffer sends no samples: %s", reason)


def to_batch(dataset: Any, sample: Mapping[str, Any]) -> tuple[Batch, Drawn]:
    """Return a batch of a data set, and where its samples are from.

    Ray's arrays are read-only, and the data set may change its own.
    """
    own = {key: np.array(values) for key, values in sample["windows"].items()}
    drawn = Drawn(sample["versions"], sample["rows"])
    return to_tensors(dataset.batch_of_windows(own)), drawn
