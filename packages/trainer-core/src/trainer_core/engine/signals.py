"""SIGINT, SIGTERM and SIGUSR1 ask the run to save and leave; a second one ends it at once.

Before the first step there is nothing to save, and a flag would be seen late: what is being built,
downloaded or recorded is given up at once. From then on the loop looks at a flag.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainer_core.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["InterruptFlag", "catch_interrupts", "leave_early"]

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)


class InterruptFlag:
    """Whether the run was asked to stop, and by which signal.

    Args:
        wake: Called when somebody asks, so that the loop looks at the flag after its step.

    Attributes:
        signal_name: `SIGTERM` and so on; empty while nobody asked.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.signal_name = ""
        self._wake = wake

    def set(self, signal_name: str) -> None:
        """Ask the run to stop."""
        self.signal_name = signal_name
        self._wake()

    def __bool__(self) -> bool:
        """Whether a signal has come."""
        return bool(self.signal_name)


@contextmanager
def catch_interrupts(wake: Callable[[], None]) -> Iterator[InterruptFlag]:
    """Set a flag when a signal comes, and put the old handlers back at the end.

    The handler only sets the flag: saving inside a handler can hang or corrupt. Outside of the
    main thread signals cannot be caught and the flag stays unset.

    Args:
        wake: Called by the handler, so that the loop looks at the flag after the current step.
    """
    flag = InterruptFlag(wake)
    with _handling(flag):
        yield flag


@contextmanager
def leave_early() -> Iterator[None]:
    """Give up what runs inside when a signal comes; for all that comes before the first step.

    Raises:
        Interrupted: A signal came.
    """

    def give_up() -> None:
        raise _GivenUpError

    flag = InterruptFlag(give_up)
    with _handling(flag):
        try:
            yield
        except _GivenUpError:
            raise _interrupted(flag) from None
        if flag:  # somebody's `except:` took it
            raise _interrupted(flag)


class _GivenUpError(KeyboardInterrupt):
    """Raised by the handler; no `except Exception` of a plugin takes it for an error."""


def _interrupted(flag: InterruptFlag) -> Interrupted:
    msg = f"interrupted by {flag.signal_name} before the first step; the same command goes on"
    return Interrupted(msg)


@contextmanager
def _handling(flag: InterruptFlag) -> Iterator[None]:
    """Let the first signal set the flag, and the second end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if flag:
            os._exit(128 + number)  # the second signal: at once, nothing is cleaned up
        flag.set(signal.Signals(number).name)

    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
