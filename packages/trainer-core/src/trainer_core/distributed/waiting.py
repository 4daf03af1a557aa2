"""Waiting for what may never come, with a limit and open ears."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from trainer_core.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LOOPBACK", "within"]

Result = TypeVar("Result")

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine that no other machine can use."""

_GLANCE_S = 0.1


def within(
    limit_s: float | None,
    action: Callable[[], Result],
    *,
    signals: Sequence[int] = (),
) -> Result:
    """Return what an action returns, and hear signals in the meantime.

    Args:
        limit_s: How long to wait for it, in seconds: torch waits for ever where another program
            has the port. None: for ever.
        action: It goes on in a thread of its own if nobody waits for it any more.
        signals: Grows with the signals that this process receives.

    Raises:
        TimeoutError: It took too long.
        Interrupted: A signal came.
    """
    answer: list[tuple[Any, BaseException | None]] = []

    def act() -> None:
        try:
            answer.append((action(), None))
        except BaseException as exc:  # noqa: BLE001 - raised again where it was asked for
            answer.append((None, exc))

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    deadline = None if limit_s is None else time.monotonic() + limit_s
    while thread.is_alive():
        thread.join(_GLANCE_S)
        if signals:
            name = signal.Signals(signals[0]).name
            msg = f"interrupted by {name} before the processes met; the same command goes on"
            raise Interrupted(msg)
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError
    result, error = answer[0]
    if error is not None:
        raise error
    done: Result = result
    return done
