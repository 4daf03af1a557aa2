"""What the log lines of an online run tell beside the losses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Gauges"]


class Gauges:
    """Rates and ages since the last log line, and what is in the buffer.

    Args:
        describe: Returns what the replay buffer said of itself last.
        acting: Returns the version that each rollout worker acts with.
        waited_s: Returns how long the learner has waited for samples in all, in seconds.
    """

    def __init__(
        self,
        describe: Callable[[], Mapping[str, Any]],
        acting: Callable[[], Mapping[str, int]],
        waited_s: Callable[[], float],
    ) -> None:
        self._describe = describe
        self._acting = acting
        self._waited_s = waited_s
        self._ages: list[float] = []
        self._read_at = time.perf_counter()
        self._read_wait_s = 0.0
        self._are_playing = False
        self._added: tuple[float, int] | None = None

    def note_versions(self, versions: NDArray[np.int64], step: int) -> None:
        """Take the versions of the weights that made the samples of a step; -1: no policy of ours.

        After a return to an older checkpoint there may be newer ones; these have the age 0. May be
        called by any thread.
        """
        own = versions[versions >= 0]
        if own.size:
            self._ages.append(float((step - own).clip(min=0).mean()))

    def read(self, step: int) -> dict[str, float]:
        """Return the numbers for the log line of a step."""
        now = time.perf_counter()
        passed_s, self._read_at = max(now - self._read_at, 1e-9), now
        waited_s = self._waited_s()
        found = {"online/wait_share": (waited_s - self._read_wait_s) / passed_s}
        self._read_wait_s = waited_s
        ages, self._ages = self._ages, []
        if ages:
            found["online/staleness"] = sum(ages) / len(ages)
        acting = self._acting()
        found["online/workers"] = float(len(acting))
        newest = max(acting.values(), default=-1)
        if newest >= 0:
            found["online/policy_lag"] = max(0.0, float(step - newest))
        return found | self._read_buffer(now)

    def begin_rollouts(self) -> None:
        """Count the frames that come from now on."""
        self._are_playing = True
        described = self._describe()
        if described:
            self._added = time.perf_counter(), int(described["frames_added"])

    def _read_buffer(self, now: float) -> dict[str, float]:
        described = self._describe()
        if not described:
            return {}
        added = int(described["frames_added"])
        found = {
            "online/episodes": float(described["episodes"]),
            "online/frames": float(described["frames"]),
            "online/refused": float(described["refused"]),
        }
        if self._added is not None:
            since, before = self._added
            found["online/rollout_frames_per_s"] = (added - before) / max(now - since, 1e-9)
        if self._are_playing:
            self._added = now, added
        if described["recent_success_rate"] is not None:
            found["online/success_rate"] = float(described["recent_success_rate"])
        return found
