"""The episodes of a data set: their rows, and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Episodes", "LeRobotEpisodes", "VideoPlaces"]


@dataclass(frozen=True)
class Episodes:
    """The episodes table; arrays `(episodes,)`.

    Attributes:
        start: First row of each episode.
        stop: Row after its last.
        names: What each is called in its file or as a file, for messages; empty if by number only.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    names: tuple[str, ...] = ()

    @classmethod
    def of_lengths(cls, lengths: Sequence[int], names: tuple[str, ...] = ()) -> Episodes:
        """Return episodes of some lengths, one after the other."""
        stop = np.cumsum(np.asarray(lengths, np.int64))
        return Episodes(np.concatenate([[0], stop[:-1]]), stop, names)

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.start)

    @property
    def length(self) -> NDArray[np.int64]:
        """Return the frames of each episode."""
        return self.stop - self.start

    def place(self, row: int) -> str:
        """Return where a row is: `episode 1, frame 3`, or `episode 1 (demo_7), frame 3`."""
        episode = int(np.searchsorted(self.stop, row, side="right"))
        name = f" ({self.names[episode]})" if self.names else ""
        return f"episode {episode}{name}, frame {row - int(self.start[episode])}"


@dataclass(frozen=True)
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


@dataclass(frozen=True, kw_only=True)
class LeRobotEpisodes(Episodes):
    """The episodes of a LeRobotDataset; arrays `(episodes,)`.

    Attributes:
        chunk: Chunk number of its data file.
        file: File number of its data file.
        videos: Places in the video files, by camera.
    """

    chunk: NDArray[np.int64]
    file: NDArray[np.int64]
    videos: dict[str, VideoPlaces]
