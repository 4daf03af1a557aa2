"""Hands the newest weights out: one copy on the learner's path, the rest beside it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from trainer_ray.online.acting_weights import Averages
from trainer_ray.online.packed_weights import Packer, named_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["Publisher"]

_log = logging.getLogger(__name__)

_END_S = 10.0

Layer = dict[str, Any]


class Publisher:
    """Copies weights when it is told to, and publishes them in a thread.

    A component that has never had a parameter to train travels once, with the base.

    Args:
        models: The components, unwrapped.
        put: Stores an array for others and returns what they find it by.
        send: Publishes `(version, newest layer, base layer or None)`; returns whether whoever
            got it has a base.
        averages: What is published instead of trained weights; None: nothing.

    Attributes:
        version: Version of the weights that were published last; -1: none were.
    """

    def __init__(
        self,
        models: nn.ModuleDict,
        put: Callable[[NDArray[np.uint8]], Any],
        send: Callable[[int, Layer, Layer | None], bool],
        averages: Averages | None = None,
    ) -> None:
        self.version = -1
        self._models = models
        self._put = put
        self._send = send
        self._averages = averages or Averages()
        self._trained: list[str] = []
        self._packer = Packer({})
        self._base: Layer | None = None
        self._newest: Layer | None = None
        self._copied: int | None = None  # what lies in the packer's memory and is not stored yet
        self._is_due = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, version: int) -> bool:
        """Copy the weights as they are now, or their averages; return whether they are published.

        They will not while earlier ones are on their way: the memory is in use.
        """
        if self._copied is not None:
            return False
        self._follow_training()
        self._averages.copy(self._packer)
        self._copied = version
        self._is_due.set()
        return True

    def repeat(self) -> None:
        """Publish again what was published last, for a manager that has lost it."""
        self._is_due.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._is_due.set()
        self._thread.join(_END_S)

    def _follow_training(self) -> None:
        """Make room for what is trained by now, and for averages, which go on following."""
        moving = {*self._trained, *self._averages.components()}
        trained = [
            name
            for name, module in self._models.items()
            if name in moving or any(p.requires_grad for p in module.parameters())
        ]
        if trained != self._trained or not self._packer.index:
            self._trained = trained
            self._packer = Packer(named_tensors(self._models, trained))

    def _run(self) -> None:
        told = ""
        while True:
            self._is_due.wait()
            self._is_due.clear()
            if self._closed:
                return
            try:
                self._pass_on()
            except Exception as error:  # noqa: BLE001 - the rollouts go on with older weights
                told = self._warn(error, told)
            else:
                told = ""

    def _warn(self, error: Exception, told: str) -> str:
        """Say why weights were not published unless that was told last; return what was told."""
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        text = f"{type(error).__name__}: {reason}"
        if text != told:
            older = f"rollouts go on with those of step {self.version}"
            _log.warning("weights were not published: %s; %s", text, older)
        return text

    def _pass_on(self) -> None:
        version = self._copied
        if version is not None:
            try:
                self._newest = self._store(self._packer)
                self.version = version
            finally:
                self._copied = None
        if self._newest is None:
            return
        if self._base is None or not self._send(self.version, self._newest, None):
            self._send(self.version, self._newest, self._base_layer())

    def _base_layer(self) -> Layer:
        """Return all weights as they are now; those that are trained do not matter here."""
        if self._base is None:
            packer = Packer(named_tensors(self._models))
            packer.copy()
            self._base = self._store(packer)
        return self._base

    def _store(self, packer: Packer) -> Layer:
        return {"refs": [self._put(packer.array())], "index": packer.index}
