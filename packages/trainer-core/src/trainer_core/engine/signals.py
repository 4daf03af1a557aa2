"""SIGINT, SIGTERM and SIGUSR1 ask the run to save and leave; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["InterruptFlag", "catch_interrupts"]

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)


class InterruptFlag:
    """Whether the run was asked to stop, and by which signal.

    Attributes:
        signal_name: `SIGTERM` and so on; empty while nobody asked.
    """

    def __init__(self) -> None:
        self.signal_name = ""

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
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if flag:
            os._exit(128 + number)  # the second signal: at once, nothing is cleaned up
        flag.signal_name = signal.Signals(number).name
        wake()

    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
