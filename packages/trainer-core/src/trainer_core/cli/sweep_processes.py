"""The processes of a sweep's trials, and what stops them."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["TrialProcesses"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STATUS = {0: "completed", 75: "interrupted"}


class TrialProcesses:
    """Runs one process at a time and hands it the signals that this one gets.

    A trial has a process group of its own, so that Ctrl-C reaches it once, through here.

    Args:
        quiet: Let the processes print to stderr, because stdout is for a document.

    Attributes:
        is_stopped: A signal asked to stop: no further trial is to be started.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.is_stopped = False
        self._current: subprocess.Popen[bytes] | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals that stop a run."""
        self._handlers = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str]) -> int:
        """Run one process to its end and return its exit code."""
        sys.stdout.flush()
        output = sys.stderr if self.quiet else None
        self._current = subprocess.Popen(command, process_group=0, stdout=output)  # noqa: S603 - our own command
        if self.is_stopped:
            self._current.send_signal(signal.SIGTERM)
        code = self._current.wait()
        self._current = None
        return code

    def status(self, code: int) -> str:
        """Return what an exit code means: `completed`, `interrupted` or `failed`."""
        if code != 0 and self.is_stopped:
            return "interrupted"  # also a trial that was still starting
        return _STATUS.get(code, "failed")

    def _stop(self, number: int, _frame: object) -> None:
        self.is_stopped = True
        if self._current is not None:
            handed_on = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
            self._current.send_signal(handed_on)
