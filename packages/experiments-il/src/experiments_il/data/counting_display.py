"""Shows how many of a known number are done: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

__all__ = ["counting_display"]

_PLAIN_LINES = 4


@contextmanager
def counting_display(
    label: str, total: int, unit: str, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Yield the function to call with how many are done.

    Args:
        label: What is going on: `converting demos`.
        total: How many there will be.
        unit: What they are: `episodes`.
        console: Where to show it; stderr if None.
    """
    from rich.console import Console  # noqa: PLC0415 - only when something is shown
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - see above
    from rich.progress import TimeRemainingColumn as Remaining  # noqa: PLC0415 - see above

    console = console or Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines(label, total, unit, console)
        return
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn(unit), Remaining())
    with Progress(*columns, console=console) as bar:
        row = bar.add_task(label, total=total)
        yield lambda done: bar.update(row, completed=done)


def _lines(label: str, total: int, unit: str, console: Console) -> Callable[[int], None]:
    told = 0

    def tell(done: int) -> None:
        nonlocal told
        share = _PLAIN_LINES * done // total
        if share > told:
            told = share
            console.print(f"{label}: {done} of {total} {unit}", soft_wrap=True)

    return tell
