"""Shows a recording on stderr: a progress bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from experiments_il.sim.record import RecordingProgress

__all__ = ["recording_display"]

_PLAIN_LINES = 4


@contextmanager
def recording_display(
    task: str, episodes: int, console: Console | None = None
) -> Iterator[Callable[[RecordingProgress], None]]:
    """Yield the function to call after each episode.

    Args:
        task: What is recorded.
        episodes: How many episodes it will be.
        console: Where to show it; stderr if None.
    """
    from rich.console import Console  # noqa: PLC0415 - only when something is shown

    console = console or Console(stderr=True, highlight=False)
    if console.is_terminal:
        with _bar(task, episodes, console) as update:
            yield update
    else:
        yield _lines(task, episodes, console)


@contextmanager
def _bar(
    task: str, episodes: int, console: Console
) -> Iterator[Callable[[RecordingProgress], None]]:
    from rich.progress import (  # noqa: PLC0415 - only when something is shown
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("recording {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("episodes, {task.fields[frames]} frames, {task.fields[dropped]} failed"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        row = bar.add_task(task, total=episodes, frames=0, dropped=0)
        yield lambda done: bar.update(
            row, completed=done.episodes, frames=done.frames, dropped=done.dropped
        )


def _lines(task: str, episodes: int, console: Console) -> Callable[[RecordingProgress], None]:
    told = 0

    def tell(done: RecordingProgress) -> None:
        nonlocal told
        share = _PLAIN_LINES * done.episodes // episodes
        if share > told:
            told = share
            failed = f", {done.dropped} failed" if done.dropped else ""
            console.print(
                f"recording {task}: {done.episodes} of {episodes} episodes{failed}", soft_wrap=True
            )

    return tell
