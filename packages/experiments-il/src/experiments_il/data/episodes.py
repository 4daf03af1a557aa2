"""The episodes of a data set: their rows, and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Episodes", "VideoPlaces"]


@dataclass(frozen=True, slots=True)
class VideoPlaces:
    """Where each episode lies in the files of one camera; arrays `(episodes,)`.

    Attributes:
        chunk: Chunk number.
        file: File number.
        from_s: Seconds inside the file at which the episode starts.
    """

    chunk: NDArray[np.int64]
    file: NDArray[np.int64]
    from_s: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Episodes:
    """The episodes table; arrays `(episodes,)`.

    Attributes:
        start: First row of each episode.
        stop: Row after its last.
        chunk: Chunk number of its data file.
        file: File number of its data file.
        videos: Places in the video files, by camera.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    chunk: NDArray[np.int64]
    file: NDArray[np.int64]
    videos: dict[str, VideoPlaces]

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.start)

    @property
    def length(self) -> NDArray[np.int64]:
        """Return the frames of each episode."""
        return self.stop - self.start

    def place(self, row: int) -> str:
        """Return where a row is: `episode 1, frame 3`."""
        episode = int(np.searchsorted(self.stop, row, side="right"))
        return f"episode {episode}, frame {row - int(self.start[episode])}"
