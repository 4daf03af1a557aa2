"""Tells the replay buffer how large the losses of its samples were, beside the training.

Source: Schaul et al. 2016, Prioritized Experience Replay; their error of a transition is the loss
of a frame here.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch
from ray.exceptions import RayError

from trainer_core.step import LossTrainer
from trainer_ray.online.actors import explain

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from trainer_ray.online.actors import NamedActor

__all__ = ["Feedback"]

_log = logging.getLogger(__name__)

_STEPS_AT_ONCE = 4
_STEPS_KEPT = 256  # while the buffer does not answer; what is older is forgotten
_STEPS_UNTIL_TOLD = 3


class Feedback:
    """Pairs the losses of a batch with the frames that the buffer sent for it.

    Nothing here waits for the device or the buffer: losses are read when they have arrived, and
    one message at a time is on its way. What is lost with a buffer are priorities alone.

    Args:
        buffer: The replay buffer.
        places: Which places of a batch have its samples, bool `(batch,)`.
    """

    def __init__(self, buffer: NamedActor, places: NDArray[np.bool_]) -> None:
        self._buffer = buffer
        self._places = torch.from_numpy(np.flatnonzero(places))
        self._trainer: Any = None
        self._rows: NDArray[np.int64] | None = None
        self._pending: deque[tuple[NDArray[np.int64], _Copy]] = deque(maxlen=_STEPS_KEPT)
        self._answer: Any = None
        self._is_told = False
        self._untold = 0

    def listen(self, trainer: Any) -> None:
        """Begin to take the losses that a trainer tells; none of one that tells none."""
        self._trainer = trainer
        if isinstance(trainer, LossTrainer):
            trainer.on_sample_losses = self.note

    def close(self) -> None:
        """Let the trainer compute no more of them."""
        if isinstance(self._trainer, LossTrainer):
            self._trainer.on_sample_losses = None
        self._trainer = None

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Take the names of the buffer's frames in the batch that is trained on next."""
        if self._trainer is None:
            return
        self._untold += self._rows is not None
        if self._untold == _STEPS_UNTIL_TOLD and not self._is_told:
            _log.warning(
                "sampling: prioritized goes by the priorities that senders give: %s tells no "
                "losses of samples",
                type(self._trainer).__name__,
            )
        self._rows = rows

    def note(self, losses: Tensor) -> None:
        """Take the losses of the batch that was expected, `(batch,)`, on any device."""
        self._is_told = True
        rows, self._rows = self._rows, None
        if rows is not None:
            self._places = self._places.to(losses.device)
            self._pending.append((rows, _Copy(losses[self._places])))

    def send(self) -> None:
        """Send what has come together; called by the thread that asks the buffer for samples."""
        if len(self._pending) < _STEPS_AT_ONCE or not self._is_answered():
            return
        rows, values = [], []
        while self._pending:
            names, copy = self._pending.popleft()
            if not copy.is_there():
                self._pending.appendleft((names, copy))
                break
            rows.append(names)
            values.append(copy.values.numpy())
        if rows:
            losses = np.concatenate(values).astype(np.float64)
            usable = np.isfinite(losses)
            priorities = np.maximum(losses[usable], 0.0)
            names = np.concatenate(rows)[usable]
            self._answer = self._buffer.ask("set_priorities", names, priorities)

    def _is_answered(self) -> bool:
        """Return whether no message is on its way."""
        if self._answer is None:
            return True
        done, _ = ray.wait([self._answer], timeout=0)
        if not done:
            return False
        answer, self._answer = self._answer, None
        try:
            ray.get(answer)
        except RayError as error:
            _log.info("the replay buffer took no priorities: %s", explain(error))
        return True


class _Copy:
    """Numbers on their way from the device, float32 `(B,)`.

    Args:
        numbers: Where they are.

    Attributes:
        values: Where they will be.
    """

    def __init__(self, numbers: Tensor) -> None:
        numbers = numbers.float()
        self.values = numbers
        self._event: torch.cuda.Event | None = None
        if numbers.device.type == "cuda":
            self.values = torch.empty(numbers.shape, pin_memory=True)
            self.values.copy_(numbers, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch leaves it so
            self._event.record()

    def is_there(self) -> bool:
        """Return whether the values are there."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call] # the same
