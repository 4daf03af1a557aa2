"""Frames as JPEG: one file of images and one table of offsets; small, quick, a little lossy."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, final

import numpy as np

from experiments_il.data.frame_memory import FrameMemory
from experiments_il.data.images import decode_image, import_pillow
from experiments_il.data.repeated_rows import RepeatedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.array_cache import ArrayGroup

__all__ = ["QUALITY", "JpegFrames", "encode_jpeg", "fits_rows", "write_jpegs"]

QUALITY = 95
_IMAGES, _OFFSETS = "images", "offsets"


@final
class JpegFrames:
    """The frames of a camera that were written by `write_jpegs`.

    Args:
        group: Its files.
        shape: Of a frame, `(channels, height, width)`.
    """

    def __init__(self, group: ArrayGroup, shape: tuple[int, int, int]) -> None:
        self._group = group
        self._shape = shape
        self._memory = FrameMemory()

    def gather(self, rows: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Return the frames at some rows, uint8 `(*rows.shape, channels, height, width)`.

        Args:
            rows: Their rows.
            out: Receives and is returned as the frames; None: a new array.

        Raises:
            DatasetError: The cache is damaged.
        """
        images, offsets = self._group.arrays[_IMAGES], self._group.arrays[_OFFSETS]
        repeated = RepeatedRows(rows)
        frames = repeated.frames(self._shape, self._memory, out)
        for place, row in zip(repeated.places.tolist(), repeated.rows.tolist(), strict=True):
            blob = images[offsets[row] : offsets[row + 1]].tobytes()
            where = f"{self._group.folder}: the image of row {row}"
            decode_image(blob, self._shape, where, frames[place])
        return repeated.repeat(frames)


def encode_jpeg(frame_chw: NDArray[np.uint8]) -> bytes:
    """Return uint8 `(channels, height, width)` with 1 or 3 channels as a JPEG."""
    pixels = frame_chw[0] if len(frame_chw) == 1 else frame_chw.transpose(1, 2, 0)
    stream = io.BytesIO()
    picture = import_pillow().fromarray(np.ascontiguousarray(pixels))
    picture.save(stream, format="JPEG", quality=QUALITY)
    return stream.getvalue()


def write_jpegs(
    blocks: Iterable[tuple[slice, Any]], rows: int, progress: Callable[[int], None]
) -> Callable[[Path], tuple[dict[str, str], dict[str, Any]]]:
    """Return what writes frames into a folder; see `ArrayCache.open_files`.

    Args:
        blocks: Yields (rows, frames) in the order of the rows.
        rows: How many there are.
        progress: Called with how many are written.
    """

    def build(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
        offsets = np.zeros(rows + 1, np.int64)
        with (folder / "images.bin").open("wb") as file:
            for block, frames in blocks:
                for row, frame in enumerate(frames, start=block.start):
                    offsets[row + 1] = offsets[row] + file.write(encode_jpeg(frame))
                progress(block.stop)
        np.save(folder / "offsets.npy", offsets)
        return {_IMAGES: "images.bin", _OFFSETS: "offsets.npy"}, {}

    return build


def fits_rows(rows: int) -> Callable[[Mapping[str, NDArray[Any]]], bool]:
    """Return the check that files are whole: as many images as rows, and all of their bytes."""

    def fits(arrays: Mapping[str, NDArray[Any]]) -> bool:
        offsets = arrays[_OFFSETS]
        return offsets.shape == (rows + 1,) and int(offsets[-1]) == len(arrays[_IMAGES])

    return fits
