"""Images of parquet cells by row, decoded when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, final

import numpy as np

from experiments_il.data.arrow import read_row_group, row_group_sizes
from experiments_il.data.columns import image_blobs
from experiments_il.data.frame_memory import FrameMemory
from experiments_il.data.images import decode_image
from experiments_il.data.repeated_rows import RepeatedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.lerobot_metadata import DataFile

__all__ = ["ParquetImages"]

_MAX_GROUPS = 64


@final
class ParquetImages:
    """The frames of one camera whose images are cells of the data files.

    A row group (as LeRobot writes them: one episode) is read as a whole, still encoded, and the
    last few are kept; only the frames that are asked for are decoded. No file stays open.

    Args:
        files: The data files, in the order of their rows.
        feature: The camera.
        place: Returns episode and frame of a row, for messages.
    """

    def __init__(
        self, files: Sequence[DataFile], feature: Feature, place: Callable[[int], str]
    ) -> None:
        self._files = list(files)
        self._feature = feature
        self._place = place
        self._memory = FrameMemory()
        self._starts = np.array([file.start for file in files], np.int64)
        self._group_starts: dict[int, NDArray[np.int64]] = {}
        self._groups: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read behind: each process reads its own."""
        return {**self.__dict__, "_groups": OrderedDict()}

    def gather(self, rows: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Return the frames at some rows, uint8 `(*rows.shape, channels, height, width)`.

        Args:
            rows: Their rows.
            out: Receives and is returned as the frames; None: a new array.

        Raises:
            DatasetError: A frame cannot be decoded; the message names file, episode and frame.
        """
        channels, height, width = self._feature.item_shape
        repeated = RepeatedRows(rows)
        frames = repeated.frames((channels, height, width), self._memory, out)
        for place, row in zip(repeated.places.tolist(), repeated.rows.tolist(), strict=True):
            number = int(np.searchsorted(self._starts, row, side="right")) - 1
            file = self._files[number]
            where = f"{file.path}: '{self._feature.name}' at {self._place(row)}"
            blob = self._blob(number, row - file.start)
            decode_image(blob, (channels, height, width), where, frames[place])
        return repeated.repeat(frames)

    def _blob(self, number: int, row: int) -> bytes:
        file = self._files[number]
        if number not in self._group_starts:
            sizes = row_group_sizes(file.path)
            self._group_starts[number] = np.cumsum([0, *sizes[:-1]])
        starts = self._group_starts[number]
        group = int(np.searchsorted(starts, row, side="right")) - 1
        first = int(starts[group])
        blobs = self._groups.pop((number, group), None)
        if blobs is None:
            table = read_row_group(file.path, group, self._feature.name)
            blobs = image_blobs(
                table[self._feature.name],
                self._feature,
                lambda inside: self._place(file.start + first + inside),
            )
        self._groups[number, group] = blobs
        if len(self._groups) > _MAX_GROUPS:
            self._groups.popitem(last=False)
        return blobs[row - first]
