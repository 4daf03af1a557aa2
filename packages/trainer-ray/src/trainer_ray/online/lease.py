"""Who may use something for now: one at a time, and not for longer than it shows signs of life."""

from __future__ import annotations

import time

__all__ = ["Lease"]


class Lease:
    """Belongs to whoever took it last, until it is released or not renewed in time.

    Args:
        length_s: How long it lasts without being renewed.
    """

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._holder, self._until = "", 0.0

    def holder(self) -> str:
        """Return who has it; empty: nobody."""
        return self._holder if time.monotonic() < self._until else ""

    def take(self, who: str) -> str:
        """Take or renew it; return who else has it, empty if it was got."""
        other = self.holder()
        if other not in {"", who}:
            return other
        self._holder, self._until = who, time.monotonic() + self._length_s
        return ""

    def release(self, who: str) -> None:
        """Let others have it, if it is theirs to give."""
        if self._holder == who:
            self._holder = ""
