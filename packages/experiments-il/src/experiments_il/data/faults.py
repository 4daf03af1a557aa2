"""A fault of a data set with its place; values that are not finite; frames that show nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Fault", "FrameWatch", "Level", "value_faults"]

Level: TypeAlias = 'Literal["error", "warning", "note"]'

_BLACK = 10
_SHORTEST_STILL = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong, may be, or is good to know.

    Attributes:
        dataset: Folder or file of the data set.
        message: What is wrong.
        file: The file, if one is known.
        episode: Its number, if one is known.
        frame: Frame of the episode, if one is known.
        time_s: The frame's time in the episode, in seconds.
        level: `error`: a training would fail or learn something else than what was recorded.
            `warning`: it works, and somebody should look. `note`: it is as it often is and does no
            harm; good to know.
    """

    dataset: str
    message: str
    file: str | None = None
    episode: int | None = None
    frame: int | None = None
    time_s: float | None = None
    level: Level = "error"

    def __str__(self) -> str:
        """Return one line."""
        place = []
        if self.episode is not None:
            place.append(f"episode {self.episode}")
        if self.frame is not None:
            place.append(f"frame {self.frame} ({self.time_s:.2f} s)")
        where = f"{', '.join(place)}: " if place else ""
        mark = "" if self.level == "error" else f"{self.level}: "
        return f"{self.file or self.dataset}: {where}{mark}{self.message}"


@final
class FrameWatch:
    """Looks at a camera's frames as they are decoded: are they black, do they ever change?

    Args:
        root: The data set.
        name: The camera.
        fps: Frames per second.
        file: Where the frames are.
    """

    def __init__(self, root: Path, name: str, fps: float, file: str | None = None) -> None:
        self._root, self._name, self._fps, self._file = str(root), name, fps, file
        self._found: list[Fault] = []
        self._episode, self._frames = -1, 0
        self._black: list[int] = []
        self._first: NDArray[Any] | None = None
        self._is_still = True

    def see(self, episode: int, frame: int, pixels: NDArray[Any]) -> None:
        """Look at the next frame, uint8 in any order of its dimensions; depth is not judged."""
        if pixels.dtype != np.uint8:
            return
        if episode != self._episode:
            self._end_episode()
            self._start_episode(episode)
        self._frames += 1
        if pixels.max() <= _BLACK:
            self._black.append(frame)
        if self._first is None:
            self._first = pixels.copy()
        elif self._is_still:
            self._is_still = np.array_equal(self._first, pixels)

    def faults(self) -> list[Fault]:
        """Return what was found, after the last frame."""
        self._end_episode()
        self._start_episode(-1)
        return self._found

    def _start_episode(self, episode: int) -> None:
        self._episode, self._frames = episode, 0
        self._black, self._first, self._is_still = [], None, True

    def _end_episode(self) -> None:
        if self._black:
            count = f"{len(self._black)} of {self._frames} frames"
            self._say(f"'{self._name}' is black in {count}", self._black[0])
        elif self._is_still and self._frames >= _SHORTEST_STILL:
            self._say(f"'{self._name}' shows the same picture in all {self._frames} frames", 0)

    def _say(self, message: str, frame: int) -> None:
        time_s = frame / self._fps
        place = (self._file, self._episode, frame, time_s)
        self._found.append(Fault(self._root, message, *place, level="warning"))


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
