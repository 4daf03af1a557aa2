"""Says once what a replay buffer tells of its disk and of episodes, where nobody would ask it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Complaints"]

_log = logging.getLogger(__name__)


class Complaints:
    """Warns of damaged files, a disk that takes no episodes, and the first episode refused."""

    def __init__(self) -> None:
        self._lost: list[str] = []
        self._disk_error = ""
        self._has_refused = False

    def hear(self, described: Mapping[str, Any]) -> None:
        """Take what the buffer described; say what is new of it.

        Args:
            described: As `ReplayBuffer.describe`; what is missing there is no complaint.
        """
        lost, disk_error = list(described.get("lost", ())), described.get("disk_error", "")
        new = [each for each in lost if each not in self._lost]
        if new:
            others = f", and {len(new) - 1} more" if len(new) > 1 else ""
            _log.warning("damage in the replay buffer's files, left out: %s%s", new[0], others)
        if disk_error and disk_error != self._disk_error:
            _log.warning(
                "the replay buffer takes no episodes, which are sent again: %s; the training goes "
                "on with those that are there",
                disk_error,
            )
        if described.get("refusal") and not self._has_refused:
            self._has_refused = True
            _log.warning(
                "the replay buffer refused an episode of %s; online/refused counts them",
                described["refusal"],
            )
        self._lost, self._disk_error = lost, disk_error
