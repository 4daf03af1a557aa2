"""Frames of mp4 files through torchcodec, which needs FFmpeg's libraries on the system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

from experiments_il.data.optional_packages import import_optional
from trainer_core.errors import DatasetError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TorchcodecFile", "import_torchcodec"]

_TOLERANCE_S = 1e-4
_REASON_LINES = 3


@final
class TorchcodecFile:
    """One open mp4 and torchcodec's decoder of it; see `video.OpenVideo`.

    Args:
        path: The file.

    Raises:
        DatasetError: It is missing, no video, or of a codec that cannot be decoded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            message = f"{path}: missing; the data set's metadata names this file"
            raise DatasetError(message)
        try:
            self._decoder = import_torchcodec().VideoDecoder(str(path), num_ffmpeg_threads=1)
        except (RuntimeError, ValueError, AssertionError) as exc:
            message = f"{path}: cannot be read as a video: {_first_line(exc)}"
            raise DatasetError(message) from exc
        described = self._decoder.metadata
        self._rate = float(described.average_fps)
        self._begin_s = float(described.begin_stream_seconds)

    def close(self) -> None:
        """Forget the decoder, which closes the file."""
        del self._decoder

    def read_into(
        self,
        frames: NDArray[Any],
        places: NDArray[np.int64],
        times_s: NDArray[np.float64],
        where: Callable[[int], str],
    ) -> None:
        """Decode the frames shown at some times, in one call; see `OpenVideo`."""
        last = len(self._decoder) - 1
        numbers = np.rint((times_s - self._begin_s) * self._rate).astype(np.int64).clip(0, last)
        found = self._decode(self._decoder.get_frames_at, numbers.tolist(), places, times_s, where)
        if (np.abs(found.pts_seconds.numpy() - times_s) > _TOLERANCE_S).any():
            # The frames are not evenly spaced: look each up by its time.
            end_s = float(self._decoder.metadata.end_stream_seconds)
            inside = np.clip(times_s + _TOLERANCE_S, self._begin_s, end_s - _TOLERANCE_S).tolist()
            played = self._decoder.get_frames_played_at
            found = self._decode(played, inside, places, times_s, where)
        self._check_times(found.pts_seconds.numpy(), places, times_s, where)
        pixels = found.data.numpy()
        shape = frames.shape[1:]
        if shape[0] == 1:
            pixels = pixels[:, :1]
        if pixels.shape[1:] != shape:
            message = f"{self._path}: frames are {pixels.shape[1:]} (C, H, W), declared {shape}"
            raise DatasetError(message)
        for place, picture in zip(places.tolist(), pixels, strict=True):
            frames[place] = picture

    def _check_times(
        self,
        found_s: NDArray[np.float64],
        places: NDArray[np.int64],
        times_s: NDArray[np.float64],
        where: Callable[[int], str],
    ) -> None:
        wrong = np.flatnonzero(np.abs(found_s - times_s) > _TOLERANCE_S)
        if wrong.size:
            first = int(wrong[0])
            message = (
                f"{self._path}: no frame at {times_s[first]:.4f} s for "
                f"{where(int(places[first]))}; the nearest is at {found_s[first]:.4f} s"
            )
            raise DatasetError(message)

    def _decode(
        self,
        decode: Callable[[list[Any]], Any],
        frames: list[Any],
        places: NDArray[np.int64],
        times_s: NDArray[np.float64],
        where: Callable[[int], str],
    ) -> Any:
        """Decode several frames; if that fails, one by one to find which."""
        try:
            return decode(frames)
        except (RuntimeError, IndexError, ValueError) as exc:
            first, reason = 0, exc
            for number, frame in enumerate(frames):
                try:
                    decode([frame])
                except (RuntimeError, IndexError, ValueError) as single:
                    first, reason = number, single
                    break
            place = f"{where(int(places[first]))} ({times_s[first]:.4f} s)"
            message = f"{self._path}: {place} cannot be decoded: {_first_line(reason)}"
            raise DatasetError(message) from exc


def import_torchcodec() -> Any:
    """Return `torchcodec.decoders`.

    Raises:
        MissingPackageError: torchcodec is not installed.
        UserError: It is and cannot be loaded; the message says why.
    """
    try:
        return import_optional("torchcodec.decoders", "decoding with torchcodec", "torchcodec")
    except (ImportError, OSError, RuntimeError) as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        reason = "\n  ".join(lines[:_REASON_LINES])
        message = (
            f"decoder: torchcodec is installed and cannot be loaded:\n  {reason}\n"
            "  it needs FFmpeg 4 to 8 as shared libraries (apt-get install ffmpeg) and the torch "
            "it was built for; decoder: pyav brings its own"
        )
        raise UserError(message) from exc


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
