"""Says on stderr how frames are kept and in which order they are read, before that takes time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from experiments_il.data.counting_display import counting_display

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console

    from experiments_il.data.chunked_order import ChunkedOrder, Chunks
    from experiments_il.data.column_store import ColumnStore

__all__ = ["prepare_frames", "show_order"]

_WORTH_SHOWING_S = 1.0
_BATCH = 64


def prepare_frames(
    store: ColumnStore,
    cameras: Sequence[str],
    *,
    is_shown: bool,
    is_chunked: bool = False,
    console: Console | None = None,
) -> None:
    """Plan the cameras of a batch together, say so, and build what is not there yet.

    Args:
        store: The columns.
        cameras: The cameras.
        is_shown: Whether this process speaks for the others.
        is_chunked: Whether frames are read in runs.
        console: Where to; stderr if None.

    Raises:
        DatasetError: A video is missing or cannot be decoded.
        StorageError: What was asked for does not fit.
    """
    plan = store.cameras.plan(cameras, is_chunked=is_chunked)
    if is_shown and not all(camera.is_built for camera in plan.cameras):
        _print(plan.lines(), console)
    for camera in plan.work:

        def display(
            label: str, frames: int, build_s: float = camera.build_s
        ) -> AbstractContextManager[Callable[[int], None]]:
            if not is_shown or build_s < _WORTH_SHOWING_S:
                return nullcontext(lambda _: None)
            return counting_display(label, frames, "frames", console)

        store.cameras.open(camera.name, display)


def show_order(
    order: ChunkedOrder, chunks: Chunks, episodes: int, console: Console | None = None
) -> None:
    """Say how well an order in runs mixes the episodes.

    Args:
        order: The order.
        chunks: How it was made.
        episodes: Episodes of the data set.
        console: Where to; stderr if None.
    """
    found = order.mean_episodes(_BATCH)
    anywhere = episodes * (1 - (1 - 1 / episodes) ** _BATCH)
    line = (
        f"order: chunked, {chunks.in_flight} runs of up to {chunks.frames} frames at once; "
        f"{_BATCH} samples are of {found:.1f} episodes on average ({anywhere:.1f} if shuffled)"
    )
    _print([line], console)


def _print(lines: Sequence[str], console: Console | None) -> None:
    from rich.console import Console  # noqa: PLC0415 - only when something is shown

    console = console or Console(stderr=True, highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
