"""Ends a process that hangs, with the stacks of all its threads, so that something restarts it."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.errors import StorageError, TrainerError
from trainer_core.storage import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainer_core.engine.state import RunState

__all__ = ["STACKS", "Watchdog"]

STACKS = "stacks"
"""The folder with the stacks in a run folder."""

_LONGEST_PAUSE_S = 5.0
_LAST_WORDS_S = 10.0
_SHARE_OF_TIMEOUT = 0.75


class Watchdog:
    """Sees whether a run makes progress; costs a step nothing, for it reads the step's number.

    Progress is a step, a batch of a validation, an episode of an evaluation, a save. An evaluator
    is watched from the first time it polls `interrupted` on. Of several processes each has its
    own, which is faster than their patience with one another: all write their stacks.

    Args:
        state: The run.
        limit_s: Longest time without progress, in seconds; None: never ends anything.
        leave: Told the message on rank 0 before the process ends: what may still be written is.
    """

    def __init__(
        self, state: RunState, limit_s: float | None, leave: Callable[[str], None] = lambda _: None
    ) -> None:
        self.state = state
        self.limit_s = limit_s
        if limit_s is not None and state.ranks.timeout_s is not None:
            self.limit_s = min(limit_s, _SHARE_OF_TIMEOUT * state.ranks.timeout_s)
        self.leave = leave
        self._beats = 0
        self._paused = 0
        self._done = threading.Event()

    def beat(self) -> None:
        """Tell of progress that is no step."""
        self._beats += 1
        self._paused = 0

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Watch nothing for a while, or until the next beat: it may take any time."""
        self._paused += 1
        try:
            yield
        finally:
            self.beat()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the run, in a thread of its own."""
        if self.limit_s is None:
            yield
            return
        self._arm(self.limit_s)  # native code may keep the thread from its first glance already
        thread = threading.Thread(target=self._watch, name="trainer watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        limit_s = self.limit_s or 0.0
        pause_s = min(_LONGEST_PAUSE_S, limit_s / 4)
        seen, idle_s, last = self._progress(), 0.0, time.monotonic()
        while not self._done.wait(pause_s):
            self._arm(limit_s)
            now, clock = self._progress(), time.monotonic()
            idle_s += min(clock - last, 2 * pause_s)  # not the time for which all was stopped
            last = clock
            if now != seen or self._paused or self.state.ranks.is_waiting:
                seen, idle_s = now, 0.0
            elif idle_s >= limit_s:
                self._end(limit_s, pause_s)

    def _arm(self, limit_s: float) -> None:
        """Should native code let no thread of Python run, one without Python ends the process."""
        faulthandler.dump_traceback_later(2 * limit_s + _LAST_WORDS_S, exit=True, file=2)

    def _progress(self) -> tuple[int, int]:
        return self.state.step, self._beats

    def _end(self, limit_s: float, pause_s: float) -> None:
        """Say what hangs and end the process; the disk may hang as well, so it comes last."""
        faulthandler.dump_traceback_later(_LAST_WORDS_S + 2 * pause_s, exit=True, file=2)
        state = self.state
        path = state.out_dir / STACKS / f"rank-{state.ranks.rank}.txt"
        message = (
            f"no progress for {limit_s:g} s after step {state.step}: rank {state.ranks.rank} hangs "
            f"and is ended (run.watchdog_s). The stacks of its threads are in {path}"
        )
        os.write(2, f"error: {message}\n".encode())
        faulthandler.dump_traceback(file=2)
        with suppress(OSError, StorageError):
            make_folder(path.parent)
            with path.open("w") as file:
                file.write(f"{message}\n\n")
                file.flush()
                faulthandler.dump_traceback(file=file)
        _dump_loader_workers()
        if state.ranks.is_main:
            with suppress(StorageError):
                self.leave(message)
        if state.ranks.world_size > 1:  # the first to leave takes the others with it
            time.sleep(2 * pause_s)
        for child in multiprocessing.active_children():
            child.kill()  # one that hangs as well would stay for ever
        os._exit(TrainerError.exit_code)


def _dump_loader_workers() -> None:
    """Let the loader's processes write their stacks to stderr, as `loader` prepared them to."""
    asked = [child for child in multiprocessing.active_children() if _catches(child.pid)]
    for child in asked:
        with suppress(ProcessLookupError):
            os.kill(child.pid or 0, signal.SIGUSR2)
    if asked:
        time.sleep(0.5)


def _catches(pid: int | None) -> bool:
    """Return whether a process handles SIGUSR2, which would end it otherwise."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has gone, or this is not Linux
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (signal.SIGUSR2 - 1) & 1)
