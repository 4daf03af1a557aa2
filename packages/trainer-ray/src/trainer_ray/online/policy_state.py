"""The newest weights, for whoever acts with them; a plain class that becomes an actor."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from trainer_ray.online.lease import Lease

__all__ = ["PolicyStateManager"]

_log = logging.getLogger(__name__)

_LEASE_S = 30.0


class PolicyStateManager:
    """Holds references to the newest weights and knows who acts with which.

    Weights come in layers: the base has all of them, once; the newest has what training changes.
    A manager that was started again takes both from the newest whole checkpoint, until the learner
    publishes again.

    Args:
        checkpoints: The folder of the run's checkpoints.
        averaged: Take averaged weights from there, if there are any.
    """

    def __init__(self, checkpoints: str, *, averaged: bool = False) -> None:
        self._checkpoints = checkpoints
        self._averaged = averaged
        self._lease = Lease(_LEASE_S)
        self._version = -1
        self._is_restored = False
        self._layers: list[dict[str, Any]] = []
        self._acting: dict[str, dict[str, float]] = {}
        if _was_restarted():
            self.restore()

    def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    def attach(self, learner: str) -> str:
        """Make a learner the one whose weights these are; return who else is, empty if it is now.

        One that has not called this for 30 s is no longer.
        """
        return self._lease.take(learner)

    def detach(self, learner: str) -> None:
        """Let another learner publish here."""
        self._lease.release(learner)

    def publish(
        self, version: int, newest: dict[str, Any], base: dict[str, Any] | None = None
    ) -> bool:
        """Take newer weights.

        Args:
            version: Optimizer steps done when they were copied.
            newest: `{"refs": [ObjectRef], "index": Index}` of what training changes.
            base: The same of all weights; the first time, and where there is none.

        Returns:
            Whether there is a base; without it these weights are not handed out.
        """
        base = base or (self._layers[0] if self._layers else None)
        if base is None:
            return False
        self._layers = [base, newest]
        self._version = version
        self._is_restored = False
        return True

    def newest(self, known: int, worker: str = "") -> dict[str, Any] | None:
        """Return weights that are newer than those that are known.

        Args:
            known: The version somebody has; -1: none.
            worker: Who asks; it acts with `known`.

        Returns:
            `{"version", "layers"}`, to be loaded in their order; None: there are none.
        """
        if worker:
            before = self._acting.get(worker, {"calls": 0})
            self._acting[worker] = {
                "version": known,
                "seen": time.monotonic(),
                "calls": before["calls"] + (known >= 0),
            }
        is_old = known >= self._version if self._is_restored else known == self._version
        if self._version < 0 or is_old:
            return None
        layers = self._layers if known < 0 else self._layers[-1:]
        return {"version": self._version, "layers": layers}

    def describe(self) -> dict[str, Any]:
        """Return `learner`, `version` (-1: none), and `version`, `calls`, `age_s` of each worker.

        Calls are those with weights: the ends of its episodes.
        """
        now = time.monotonic()
        acting = {
            name: {
                "version": int(each["version"]),
                "calls": int(each["calls"]),
                "age_s": now - each["seen"],
            }
            for name, each in self._acting.items()
        }
        return {"learner": self._lease.holder(), "version": self._version, "acting": acting}

    def restore(self) -> bool:
        """Take the weights of the newest whole checkpoint; return whether that could be done.

        If not, the next publication of the learner mends it.
        """
        import ray  # noqa: PLC0415 - and torch: only after a restart

        from policy_constructor.errors import ConfigError  # noqa: PLC0415 - the same
        from trainer_core.checkpoint.reader import newest_valid  # noqa: PLC0415 - the same
        from trainer_core.errors import TrainerError  # noqa: PLC0415 - the same
        from trainer_ray.online.acting_weights import weights_of  # noqa: PLC0415 - the same
        from trainer_ray.online.packed_weights import Packer  # noqa: PLC0415 - the same

        try:
            checkpoint = newest_valid(Path(self._checkpoints), quarantine=False)
            if checkpoint is None:
                return False
            tensors = weights_of(checkpoint, averaged=self._averaged)
        except (TrainerError, ConfigError) as error:
            _log.warning("no weights from %s: %s", self._checkpoints, error)
            return False
        packer = Packer(tensors)
        packer.copy()
        self._layers = [{"refs": [ray.put(packer.array())], "index": packer.index}]
        self._version, self._is_restored = checkpoint.step, True
        return True


def _was_restarted() -> bool:
    """Return whether Ray made this actor anew after it had died."""
    import ray  # noqa: PLC0415 - a plain class can be used without it

    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    return context.get_actor_id() is not None and bool(context.was_current_actor_reconstructed)
