"""Says once what a replay buffer tells of its disk, where nobody would ask it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Complaints"]

_log = logging.getLogger(__name__)


class Complaints:
    """Warns of damaged files, and of a disk that takes no episodes."""

    def __init__(self) -> None:
        self._lost: list[str] = []
        self._refusal = ""

    def hear(self, described: Mapping[str, Any]) -> None:
        """Take what the buffer described; say what is new of it.

        Args:
            described: As `ReplayBuffer.describe`; what is missing there is no complaint.
        """
        lost, refusal = list(described.get("lost", ())), described.get("disk_error", "")
        new = [each for each in lost if each not in self._lost]
        if new:
            others = f", and {len(new) - 1} more" if len(new) > 1 else ""
            _log.warning("damage in the replay buffer's files, left out: %s%s", new[0], others)
        if refusal and refusal != self._refusal:
            _log.warning(
                "the replay buffer takes no episodes, which are sent again: %s; the training goes "
                "on with those that are there",
                refusal,
            )
        self._lost, self._refusal = lost, refusal
