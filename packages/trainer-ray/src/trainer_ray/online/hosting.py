"""The process of a rollout worker: goes where the learner is, plays, and says how it ended."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RolloutHost"]


class RolloutHost:
    """An actor around `trainer_ray.online.rollout.RolloutWorker`."""

    def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    def run(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Play without end.

        Args:
            spec: What the worker is made from; `path` and `folder` of the learner among it.

        Returns:
            Why it ended, as `trainer_core.distributed.reports.describe` says it.
        """
        sys.path += [path for path in spec["path"] if path not in sys.path]
        with suppress(OSError):
            os.chdir(spec["folder"])
        from trainer_core.distributed.reports import describe  # noqa: PLC0415 - the path is set now

        try:
            from trainer_ray.online.rollout import RolloutWorker  # noqa: PLC0415 - as above

            RolloutWorker(dict(spec)).run()
        except Exception as error:  # noqa: BLE001 - told to the learner
            return describe(error)
        return {"kind": "TrainerError", "message": "it ended by itself", "exit_code": 1}
