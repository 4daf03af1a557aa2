"""Frames of cameras as pictures for people: uint8 RGB, whatever the format records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from experiments_il.data.source import FrameSource

__all__ = ["CameraPictures", "cameras_of"]


def cameras_of(source: FrameSource) -> list[str]:
    """Return the cameras of a data set."""
    return [name for name, feature in source.features.items() if feature.is_frame]


@final
class CameraPictures:
    """The pictures of one camera by row.

    Frames of formats that are read in order only are kept, one run of rows at a time.

    Args:
        source: The data set.
        name: The camera.
    """

    def __init__(self, source: FrameSource, name: str) -> None:
        self._source = source
        self._feature = source.features[name]
        is_video = self._feature.dtype == "video"
        self._reader = source.open_video(name) if is_video else source.open_images(name)
        self._kept: dict[int, NDArray[Any]] = {}

    def keep(self, start: int, stop: int) -> None:
        """Read a run of rows at once, if rows cannot be read one by one."""
        if self._reader is not None:
            return
        for rows, frames in self._source.read_frames(self._feature.name):
            if rows.start >= stop:
                return
            for row, frame in enumerate(frames, start=rows.start):
                if start <= row < stop:
                    self._kept[row] = np.asarray(frame)

    def at(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of a row, uint8 `(height, width, 3)`; depth as grey, near is bright.

        Raises:
            DatasetError: It cannot be decoded.
        """
        if self._reader is None and row not in self._kept:
            self.keep(row, row + 1)
        frame = self._kept[row] if self._reader is None else self._reader.gather(np.array([row]))[0]
        depth = self._feature.depth
        if depth is not None:
            share = (frame - depth.min_m) / (depth.max_m - depth.min_m)
            frame = (255 * (1 - np.clip(share, 0, 1))).astype(np.uint8)
        picture = frame.transpose(1, 2, 0)
        if picture.shape[2] == 1:
            picture = np.repeat(picture, 3, axis=2)
        return np.ascontiguousarray(picture[..., :3])
