"""Processes that cost milliseconds: forks of one that has imported torch and started no thread."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BROKEN", "Child", "descendants", "fork", "run_forked"]

BROKEN = 70
"""Exit code of a child whose work raised what it did not expect."""
HUNG_AFTER_S = 60.0


class Child:
    """A forked process in a group of its own.

    Args:
        pid: Its number.
        log: The file with its output.
    """

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log

    def send(self, number: int) -> None:
        """Send a signal to the process alone; one that has ended is left alone."""
        if self.is_running():
            os.kill(self.pid, number)

    def kill_with_children(self) -> None:
        """Kill the process and all that descend from it, as a machine that loses its power."""
        for pid in (self.pid, *descendants(self.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def is_running(self) -> bool:
        """Return whether it has not ended; its exit code stays for `wait`."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is None

    def wait(self, limit_s: float = HUNG_AFTER_S) -> int:
        """Return the exit code, negative for a signal; what hangs is killed.

        Raises:
            TimeoutError: It has not ended in time.
        """
        deadline = time.monotonic() + limit_s
        pause_s = 0.0005
        while self.is_running():
            if time.monotonic() > deadline:
                self._end_group()
                os.waitpid(self.pid, 0)
                msg = f"process {self.pid} hung for {limit_s:.0f} s: {self.output()[-500:]}"
                raise TimeoutError(msg)
            time.sleep(pause_s)
            pause_s = min(0.01, pause_s * 1.5)
        self._end_group()  # loader workers of a killed process
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def output(self) -> str:
        """Return what it has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _end_group(self) -> None:
        with suppress(ProcessLookupError):  # it had no children
            os.killpg(self.pid, signal.SIGKILL)


def fork(work: Callable[[], int | None], log: Path) -> Child:
    """Start a function in a forked process; what it returns is the exit code.

    Args:
        work: The function; None counts as 0.
        log: Gets its output, and the traceback if it raises (exit code `BROKEN`).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid, log)
    code = BROKEN
    try:
        os.setpgid(0, 0)
        _redirect(log)
        code = work() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - everything must end here, not in the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_forked(work: Callable[[], int | None], log: Path, limit_s: float = HUNG_AFTER_S) -> int:
    """Run a function in a forked process to its end; return the exit code."""
    return fork(work, log).wait(limit_s)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, theirs, and so on."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for known in found:  # it grows while it is read
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


def _redirect(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - a descriptor, open to the end
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - the same
    warnings.simplefilter("default")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
