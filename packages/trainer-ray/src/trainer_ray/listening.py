"""What binds a worker to its driver: a wish to stop, how far it is, and what it prints."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["StopListener", "forwarded_output", "tied_to_raylet"]

_GLANCE_S = 0.25


class StopListener:
    """Asks the mailbox whether the run should stop; a worker of Ray gets no signals of its own.

    What rank 0 has logged since goes with the question: no step and no log line waits for Ray.

    Args:
        mailbox: The actor between driver and workers.
    """

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._done = threading.Event()
        self._logged: deque[dict[str, float]] = deque()

    @hookimpl
    def trainer_fit_start(self, state: Any) -> None:
        """Begin to ask, in a thread."""
        threading.Thread(target=self._listen, args=(state,), daemon=True).start()

    @hookimpl
    def trainer_log(self, metrics: Mapping[str, float]) -> None:
        """Keep what is to be told; rank 0."""
        self._logged.append(dict(metrics))

    @hookimpl
    def trainer_fit_end(self, state: Any) -> None:
        """Ask no more, and tell the last."""
        self._done.set()
        self._mailbox.wish.remote(self._progress(state))

    def _listen(self, state: Any) -> None:
        while not self._done.wait(_GLANCE_S):
            try:
                signal_name = ray.get(self._mailbox.wish.remote(self._progress(state)))
            except RayError:  # the driver is gone, and Ray ends this process soon
                return
            if signal_name:
                state.interrupt(signal_name)
                return

    def _progress(self, state: Any) -> dict[str, Any] | None:
        """Return how far the run is and what was logged since the last call, on rank 0."""
        if not state.ranks.is_main:
            return None
        metrics: dict[str, float] = {}
        while self._logged:
            metrics |= self._logged.popleft()
        return {"step": state.step, "total_steps": state.total_steps, "metrics": metrics}


class _Forwarded:
    """A stream whose lines appear at the driver."""

    encoding = "utf-8"
    closed = False

    def __init__(self, mailbox: Any, name: str, prefix: str) -> None:
        self._mailbox = mailbox
        self._name = name
        self._prefix = prefix
        self._rest = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Send whole lines on."""
        with self._lock:
            lines = (self._rest + text).splitlines(keepends=True)
            self._rest = lines.pop() if lines and not lines[-1].endswith("\n") else ""
            if lines:
                sent = "".join(self._prefix + line for line in lines)
                self._mailbox.write.remote(self._name, sent)
        return len(text)

    def flush(self) -> None:
        """Keep what is no whole line yet."""

    def isatty(self) -> bool:
        """Return that nobody looks at it here."""
        return False


@contextmanager
def forwarded_output(mailbox: Any, rank: int) -> Iterator[None]:
    """Let the driver print what is printed here; other ranks than 0 sign their lines."""
    streams = sys.stdout, sys.stderr
    prefix = "" if rank == 0 else f"rank {rank}: "
    sys.stdout = _Forwarded(mailbox, "stdout", prefix)
    sys.stderr = _Forwarded(mailbox, "stderr", prefix)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


@contextmanager
def tied_to_raylet() -> Iterator[None]:
    """End this process as soon as the raylet that started it is gone.

    The other ranks go on elsewhere then. Ray notices too, but a thread that waits for them keeps
    the process, and what it holds and writes, for as long as it waits.
    """
    raylet, done = os.getppid(), threading.Event()

    def watch() -> None:
        while not done.wait(_GLANCE_S):
            if os.getppid() != raylet:
                os._exit(1)

    threading.Thread(target=watch, name="tied to raylet", daemon=True).start()
    try:
        yield
    finally:
        done.set()
