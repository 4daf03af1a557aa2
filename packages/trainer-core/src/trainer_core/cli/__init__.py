"""The `trainer` command: finds the sub-command, runs it, and turns errors into exit codes."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from trainer_core.cli import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Returns:
        0: done; 1: the run failed; 2: the user's input is wrong; 75: interrupted, state saved.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    ends_soon = argv is None and arguments[:1] == ["check"]
    if ends_soon:
        # Reading sources makes a hundred thousand syntax nodes and no garbage; looking through
        # them would take a third of the time of a process that ends soon.
        gc.disable()
    try:
        return _run(arguments)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the last line of defence: no bare traceback
        from trainer_core.cli import failures

        return failures.report(error, arguments)
    finally:
        if ends_soon:
            gc.freeze()  # nor does the interpreter look through them when it ends


def _run(arguments: list[str]) -> int:
    code = 0
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(commands.help_text())
        code = 0 if arguments else 2
    elif arguments[0] == "--version":
        from trainer_core import __version__

        print(f"trainer-core {__version__}")
    else:
        code = commands.dispatch(arguments)
    if sys.stdout is not None:
        sys.stdout.flush()  # a disk that is full says so here, and not after the last line
    return code
