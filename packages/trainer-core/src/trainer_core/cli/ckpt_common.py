"""What the commands about checkpoints share."""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ckpt_parser", "human_size", "progress_bar"]


def ckpt_parser(command: str, description: str) -> argparse.ArgumentParser:
    """Return a parser of a command whose first argument is a run."""
    parser = argparse.ArgumentParser(prog=f"trainer ckpt {command}", description=description)
    parser.add_argument("run", metavar="RUN", type=Path, help="a run folder, or one checkpoint")
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    return parser


def human_size(size: int) -> str:
    """Return bytes as a person reads them: `396.2 MB`."""
    number, units = float(size), ["B", "kB", "MB", "GB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.0f} B" if units[0] == "B" else f"{number:.1f} {units[0]}"


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show on a terminal's stderr how many bytes are done; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda size: bar.advance(task, size)
