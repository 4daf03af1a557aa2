"""Frames of mp4 files through PyAV, which brings its own FFmpeg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

from experiments_il.data.depth import PIXEL_FORMAT
from experiments_il.data.optional_packages import import_optional
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["PIXELS", "PyavFile", "import_av", "require_mp4"]

PIXELS = "rgb24"
"""What frames are equal to, bit by bit: FFmpeg's packed pixels."""

_TOLERANCE_S = 1e-4
_MP4_BEGINNINGS = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
# Since FFmpeg 7.1 these may become planes without scaling, by the arithmetic of packed pixels: the
# same bytes, and no channel has to be picked out of them. Of odd heights all lines are rounded
# differently; of other widths the last columns are, or are not written at all. The first frame of
# each file tells whether it is so here.
_PLANAR_SOURCES = frozenset({"yuv420p", "yuvj420p", "yuv422p"})
_PLANAR_WIDTH = 16
_PLANES = (1, 2, 0)  # gbrp holds green, blue, red


@final
class PyavFile:
    """One open mp4: its table of presentation times, and a decoder somewhere in the stream.

    See `video.OpenVideo`.

    Args:
        path: The file.

    Attributes:
        times_s: When each frame is shown, ascending, in seconds.

    Raises:
        DatasetError: It is missing, no video, or of a codec that cannot be decoded.
    """

    def __init__(self, path: Path) -> None:
        av = import_av()
        self._path = path
        self._error = av.FFmpegError
        require_mp4(path)
        try:
            self._container = av.open(str(path), format="mp4")
            self._stream = self._container.streams.video[0]
            if self._stream.codec_context is None:
                message = f"{path}: there is no decoder for the codec of this video"
                raise DatasetError(message)
            self._stream.codec_context.thread_count = 1
            packets = [
                (packet.pts, packet.is_keyframe)
                for packet in self._container.demux(self._stream)
                if packet.pts is not None
            ]
        except FileNotFoundError as exc:
            message = f"{path}: missing; the data set's metadata names this file"
            raise DatasetError(message) from exc
        except (self._error, IndexError, OSError) as exc:
            message = f"{path}: cannot be read as a video: {exc}"
            raise DatasetError(message) from exc
        if not packets:
            message = f"{path}: the video holds no frames"
            raise DatasetError(message)
        pts, is_key = (np.array(column) for column in zip(*sorted(packets), strict=True))
        self._pts: list[int] = pts.tolist()
        before = np.maximum.accumulate(np.where(is_key, np.arange(len(pts)), 0))
        self._keyframe: list[int] = before.tolist()
        self.times_s: NDArray[np.float64] = pts * float(self._stream.time_base)
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._is_planar: bool | None = None
        self._decoder: Iterator[Any] = iter(())
        self._position: int | None = None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read_into(
        self,
        frames: NDArray[Any],
        places: NDArray[np.int64],
        times_s: NDArray[np.float64],
        where: Callable[[int], str],
    ) -> None:
        """Decode the frames shown at some times; see `OpenVideo`."""
        copy = self._copy_pixels if frames.dtype == np.uint8 else self._copy_codes
        numbers = self._numbers_at(times_s, lambda number: where(int(places[number])))
        for place, number in zip(places.tolist(), numbers.tolist(), strict=True):
            copy(self._frame(number, where, place), frames[place])

    def read(self, time_s: float, shape: tuple[int, ...], dtype: Any, where: str) -> NDArray[Any]:
        """Return the frame shown at a time: uint8 pixels or uint16 codes `(C, H, W)`."""
        frames: NDArray[Any] = np.empty((1, *shape), dtype)
        self.read_into(frames, np.zeros(1, np.int64), np.array([time_s]), lambda _place: where)
        frame: NDArray[Any] = frames[0]
        return frame

    def _numbers_at(
        self, times_s: NDArray[np.float64], where: Callable[[int], str]
    ) -> NDArray[np.int64]:
        """Return the number of the frame shown at each time."""
        after = np.searchsorted(self.times_s, times_s)
        near = np.stack([np.maximum(after - 1, 0), np.minimum(after, len(self.times_s) - 1)])
        distance = np.abs(self.times_s[near] - times_s)
        numbers: NDArray[np.int64] = np.where(distance[0] <= distance[1], near[0], near[1])
        wrong = np.flatnonzero(distance.min(axis=0) > _TOLERANCE_S)
        if wrong.size:
            first = int(wrong[0])
            found = f"the nearest is at {self.times_s[numbers[first]]:.4f} s"
            message = (
                f"{self._path}: no frame at {times_s[first]:.4f} s for {where(first)}; {found}"
            )
            raise DatasetError(message)
        return numbers

    def _frame(self, number: int, where: Callable[[int], str], place: int) -> Any:
        """Return a frame; `where(place)` is its episode and frame, for messages."""
        try:
            frame = self._decode(number)
        except self._error as exc:
            time_s = self.times_s[number]
            message = f"{self._path}: {where(place)} ({time_s:.4f} s) cannot be decoded: {exc}"
            raise DatasetError(message) from exc
        if frame is None:
            message = (
                f"{self._path}: {where(place)} ({self.times_s[number]:.4f} s) is in the index of "
                "the video and not in its data: the file was cut or changed"
            )
            raise DatasetError(message)
        return frame

    def _decode(self, number: int) -> Any | None:
        """Go on to a frame; jump to its key frame only where that leaves frames out."""
        keyframe = self._keyframe[number]
        if self._position is None or not keyframe - 1 <= self._position < number:
            self._container.seek(self._pts[keyframe], stream=self._stream, backward=True)
            self._decoder = self._container.decode(self._stream)
        self._position = None
        pts = self._pts[number]
        for frame in self._decoder:
            if frame.pts == pts:
                self._position = number
                return frame
            if frame.pts > pts:
                break
        return None

    def _copy_pixels(self, frame: Any, target: NDArray[np.uint8]) -> None:
        """Copy the pixels of a frame, in colour or grey, to `(C, H, W)`."""
        height, width = frame.height, frame.width
        if len(target) == 1:
            self._check_shape((1, height, width), target.shape)
            target[0] = _lines(self._convert(frame, "gray").planes[0], height)[:, :width]
            return
        self._check_shape((3, height, width), target.shape)
        if self._is_planar and _can_be_planar(frame):
            self._copy_planes(frame, target)
            return
        if self._is_planar is None and _can_be_planar(frame):
            self._copy_planes(frame, target)
            self._is_planar = np.array_equal(target, self._packed(frame))
        target[:] = self._packed(frame)

    def _copy_planes(self, frame: Any, target: NDArray[np.uint8]) -> None:
        planes = self._convert(frame, "gbrp").planes
        for plane, channel in zip(planes, _PLANES, strict=True):
            target[channel] = _lines(plane, frame.height)[:, : frame.width]

    def _packed(self, frame: Any) -> NDArray[np.uint8]:
        """Return a view of the frame's packed pixels, `(3, H, W)`."""
        pixels = _lines(self._convert(frame, "rgb24").planes[0], frame.height)
        packed = pixels[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)
        return packed.transpose(2, 0, 1)

    def _copy_codes(self, frame: Any, target: NDArray[np.uint16]) -> None:
        """Copy the 12-bit codes of a depth frame to `(1, H, W)`."""
        if frame.format.name != PIXEL_FORMAT:
            message = f"{self._path}: frames are {frame.format.name}; depth is {PIXEL_FORMAT}"
            raise DatasetError(message)
        self._check_shape((1, frame.height, frame.width), target.shape)
        codes = _lines(frame.planes[0], frame.height).view("<u2")
        np.minimum(codes[:, : frame.width], 4095, out=target[0])

    def _check_shape(self, found: tuple[int, ...], declared: tuple[int, ...]) -> None:
        if found != declared:
            message = f"{self._path}: frames are {found} (C, H, W), declared {declared}"
            raise DatasetError(message)

    def _convert(self, frame: Any, pixel_format: str) -> Any:
        """Return the frame in another pixel format; one thread is 100 times faster than many."""
        try:
            return self._reformatter.reformat(frame, format=pixel_format, threads=1)
        except TypeError:  # older PyAV, which takes one thread anyway
            return self._reformatter.reformat(frame, format=pixel_format)


def _lines(plane: Any, height: int) -> NDArray[np.uint8]:
    """Return the bytes of a plane, line by line with what pads them."""
    return np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)


def _can_be_planar(frame: Any) -> bool:
    return (
        frame.width % _PLANAR_WIDTH == 0
        and frame.height % 2 == 0
        and frame.format.name in _PLANAR_SOURCES
    )


def require_mp4(path: Path) -> None:
    """Refuse what is no mp4 file before a decoder looks at it.

    FFmpeg goes by the content: a play list in a file of this name would make it open other files.

    Raises:
        DatasetError: The path leads to a pipe or a device, or the file begins like no mp4.
    """
    if not path.exists():
        return
    if not path.is_file():
        message = f"{path}: is no regular file"
        raise DatasetError(message)
    try:
        with path.open("rb") as file:
            kind = file.read(8)[4:]
    except OSError as exc:
        message = f"{path}: cannot be read as a video: {exc.strerror}"
        raise DatasetError(message) from exc
    if kind not in _MP4_BEGINNINGS:
        message = f"{path}: cannot be read as a video: it does not begin like an mp4 file"
        raise DatasetError(message)


def import_av() -> Any:
    """Return PyAV, or raise `MissingPackageError`."""
    need = "reading and writing videos"
    import_optional("av.video.reformatter", need, "video")
    return import_optional("av", need, "video")
