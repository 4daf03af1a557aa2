"""Errors become a message on stderr and an exit code; a traceback only on request."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.discovery.registry import RegistryError
from policy_constructor.errors import ConfigError
from trainer_core.errors import Interrupted, TrainerError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FAILED", "INPUT_WRONG", "report"]

FAILED = 1
INPUT_WRONG = 2
_PIPE_CLOSED = 141
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF})


def report(error: BaseException, arguments: Sequence[str]) -> int:
    """Say what a command raised and return the exit code of that."""
    if isinstance(error, SystemExit):  # argparse, or a command of another wheel
        return _exit_code(error.code)
    if isinstance(error, BrokenPipeError):
        # The reader (`| head`) has gone; keep the interpreter from failing on its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        return FAILED
    if isinstance(error, ConfigError | TrainerError | RegistryError | KeyboardInterrupt):
        if _wants_traceback(arguments):
            traceback.print_exception(error, file=sys.stderr)
        text, code = _message(error)
        print(text, file=sys.stderr)
        return code
    return _report_unexpected(error, arguments)


def _exit_code(code: str | int | None) -> int:
    if isinstance(code, str):
        print(code, file=sys.stderr)
        return FAILED
    return code or 0


def _message(error: BaseException) -> tuple[str, int]:
    """Return the text and the exit code of an error that a user may meet."""
    if isinstance(error, ConfigError):
        return str(error), INPUT_WRONG
    if isinstance(error, Interrupted):
        return str(error), error.exit_code
    if isinstance(error, TrainerError):
        notes = [f"    = {note}" for note in getattr(error, "__notes__", ())]
        return "\n".join([f"error: {error}", *notes]), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; nothing new was saved", FAILED
    return f"error: {error}", FAILED


def _wants_traceback(arguments: Sequence[str]) -> bool:
    return "--traceback" in arguments or os.environ.get("TRAINER_TRACEBACK", "0") not in {"", "0"}


def _report_unexpected(error: BaseException, arguments: Sequence[str]) -> int:
    """Say in one line what failed; put the traceback into the run folder if there is one."""
    summary = f"error: {type(error).__name__}: {error}"
    folder = getattr(error, "run_folder", None)
    if not _wants_traceback(arguments) and folder is not None and Path(folder).is_dir():
        log = Path(folder) / "traceback.log"
        try:
            log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        except OSError:
            traceback.print_exception(error, file=sys.stderr)
        else:
            summary += f"\nThe traceback is in {log}"
    else:
        traceback.print_exception(error, file=sys.stderr)
    print(summary, file=sys.stderr)
    return FAILED
