"""A fault of a data set with its place, and the commonest one: values that are not finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Fault", "value_faults"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong.

    Attributes:
        dataset: Folder or file of the data set.
        message: What is wrong.
        file: The file, if one is known.
        episode: Its number, if one is known.
        frame: Frame of the episode, if one is known.
        time_s: The frame's time in the episode, in seconds.
    """

    dataset: str
    message: str
    file: str | None = None
    episode: int | None = None
    frame: int | None = None
    time_s: float | None = None

    def __str__(self) -> str:
        """Return one line."""
        place = []
        if self.episode is not None:
            place.append(f"episode {self.episode}")
        if self.frame is not None:
            place.append(f"frame {self.frame} ({self.time_s:.2f} s)")
        where = f"{', '.join(place)}: " if place else ""
        return f"{self.file or self.dataset}: {where}{self.message}"


def value_faults(
    source_root: Path,
    name: str,
    values: NDArray[Any],
    *,
    place: Callable[[int], tuple[int, int]],
    fps: float,
    file: str | None = None,
) -> list[Fault]:
    """Return one fault for each episode that has values that are not finite.

    Args:
        source_root: The data set.
        name: The column.
        values: Its values, `(rows, ...)`.
        place: Returns episode and frame of a row.
        fps: Frames per second.
        file: Where the values are.
    """
    if values.dtype.kind != "f":
        return []
    wrong = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    first: dict[int, tuple[int, int]] = {}
    for row in wrong.tolist():
        episode, frame = place(row)
        start, count = first.get(episode, (frame, 0))
        first[episode] = (start, count + 1)
    return [
        Fault(
            str(source_root),
            f"'{name}' is not finite" + (f" ({count} frames)" if count > 1 else ""),
            file,
            episode,
            frame,
            frame / fps,
        )
        for episode, (frame, count) in first.items()
    ]
