"""Samples of the replay buffer as batches of the data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from trainer_core.errors import StorageError
from trainer_core.random import derive_seed
from trainer_core.tree import to_tensors
from trainer_ray.online.actors import explain
from trainer_ray.online.prefetch import LATER, LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from trainer_core.protocols import Batch
    from trainer_ray.online.actors import NamedActor

__all__ = ["BufferSamples", "to_batch"]


class BufferSamples:
    """Asks the buffer for samples; which ones is a function of seed, step and what is in it.

    Args:
        buffer: The replay buffer.
        size: Samples at a time.
        seed: The run's seed.
        note_versions: Told the versions of the weights that made a sample, and its step.
    """

    def __init__(
        self,
        buffer: NamedActor,
        size: int,
        seed: int,
        note_versions: Callable[[NDArray[np.int64], int], None],
    ) -> None:
        self._buffer = buffer
        self._size = size
        self._seed = seed
        self._note_versions = note_versions

    def ask(self, number: int) -> Any:
        """Ask for the samples of a step."""
        seed = derive_seed(self._seed, "online", number)
        return number, self._buffer.ask("sample", self._size, seed)

    def fetch(self, ticket: Any, limit_s: float) -> Mapping[str, Any] | str:
        """Return the frames by key; LATER, LOST if the buffer is being restarted or is empty."""
        number, reference = ticket
        try:
            sample = ray.get(reference, timeout=limit_s)
        except GetTimeoutError:
            return LATER
        except RayTaskError as error:
            explained = explain(error)
            if isinstance(explained, StorageError):  # restarted, and its disk is full
                return LOST
            raise explained from error
        except RayActorError as error:
            self._buffer.revive(error)
            return LOST
        if sample["windows"] is None:
            return LOST
        self._note_versions(sample["versions"], number)
        windows: Mapping[str, Any] = sample["windows"]
        return windows


def to_batch(dataset: Any, windows: Mapping[str, Any]) -> Batch:
    """Return a batch of a data set; Ray's arrays are read-only, and it may change its own."""
    own = {key: np.array(values) for key, values in windows.items()}
    batch: Batch = to_tensors(dataset.batch_of_windows(own))
    return batch
