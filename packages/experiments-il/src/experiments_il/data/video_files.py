"""Video files of a data set being written: each episode encoded alone, then copied together.

Source: LeRobot 0.6.1's layout; its encoder settings for AV1.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, final

import numpy as np

from experiments_il.data.data_files import StagedFile
from experiments_il.data.depth import PIXEL_FORMAT as DEPTH_FORMAT
from experiments_il.data.depth import depth_codes
from experiments_il.data.pyav_video import import_av
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_format import Feature, Place

__all__ = ["CODECS", "VideoFileWriter", "VideoSpan", "video_details"]

CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"crf": "18", "preset": "veryfast"}),
    "av1": ("libsvtav1", {"crf": "30", "preset": "12"}),
}
"""Encoder and its settings by codec."""
_DEPTH_CODEC = "hevc"
_DEPTH_ENCODER = ("libx265", {"x265-params": "lossless=1:log-level=error"})
_SMALLEST_DEPTH = 16

_GROUP = 2  # a key frame at least every other frame: frames are read in random order
_PIXEL_FORMAT = "yuv420p"
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class VideoSpan:
    """Where an episode lies in the files of one camera.

    Attributes:
        place: The file.
        from_s: Seconds inside the file at which the episode starts.
        to_s: And ends.
    """

    place: Place
    from_s: float
    to_s: float


@dataclass
class _File:
    """A file in the making: the episodes that will be copied into it."""

    place: Place
    parts: list[Path] = field(default_factory=list)
    frames: int = 0
    bytes: int = 0


@final
class VideoFileWriter:
    """Writes the episodes of one camera to mp4 files in a staging folder.

    Args:
        staging: The folder.
        name: Begins the names of the files there.
        feature: The camera.
        fps: Frames per second.
        codec: `h264` or `av1`.
        last: Place of the camera's last file; new files come after it.
        chunks_size: Files per chunk.
        max_mb: Size in MiB that a file should not reach.

    Raises:
        DatasetError: A side of the frames is odd or too short, which these codecs cannot hold.
        MissingPackageError: PyAV is not installed.
    """

    def __init__(
        self,
        staging: Path,
        name: str,
        feature: Feature,
        *,
        fps: float,
        codec: str,
        last: Place,
        chunks_size: int,
        max_mb: float,
    ) -> None:
        self.staged: list[StagedFile] = []
        self._av = import_av()
        self._staging = staging
        self._name = name
        self._feature = feature
        self._rate = Fraction(fps).limit_denominator(100_000)
        self._codec = codec
        self._place = last
        self._chunks_size = chunks_size
        self._max_bytes = max_mb * _MIB
        self._files: list[_File] = []
        channels, height, width = feature.item_shape
        self._depth = feature.depth
        if self._depth is None and (height % 2 or width % 2 or channels != 3):
            message = (
                f"'{feature.name}' has frames of {height}x{width}x{channels}; a video needs even "
                "sides and 3 channels: record it as images, or crop it"
            )
            raise DatasetError(message)
        if self._depth is not None and min(height, width) < _SMALLEST_DEPTH:
            message = (
                f"'{feature.name}' has frames of {height}x{width}; a depth video needs at least "
                f"{_SMALLEST_DEPTH} pixels on each side, for that is what its encoder takes"
            )
            raise DatasetError(message)

    def write(self, frames_nhwc: NDArray[np.uint8]) -> VideoSpan:
        """Encode one episode: uint8 `(frames, height, width, 3)`, or metres `(..., 1)`."""
        number = sum(len(file.parts) for file in self._files)
        part = self._staging / f"{self._name}-part-{number}.mp4"
        self._encode(part, frames_nhwc)
        size = part.stat().st_size
        if not self._files or self._files[-1].bytes + size >= self._max_bytes:
            self._place = self._place.next(self._chunks_size)
            self._files.append(_File(self._place))
        file = self._files[-1]
        first = file.frames
        file.parts.append(part)
        file.frames += len(frames_nhwc)
        file.bytes += size
        rate = float(self._rate)
        return VideoSpan(file.place, first / rate, file.frames / rate)

    def finish(self) -> None:
        """Copy the episodes of each file together, without encoding them again."""
        for number, file in enumerate(self._files):
            path = file.parts[0]
            if len(file.parts) > 1:
                path = self._staging / f"{self._name}-{number}.mp4"
                self._join(path, file.parts)
            self.staged.append(StagedFile(path, file.place))
        self._files = []

    def _encode(self, path: Path, frames_nhwc: NDArray[np.uint8]) -> None:
        encoder, options = CODECS[self._codec] if self._depth is None else _DEPTH_ENCODER
        os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes 30 lines per episode
        try:
            with _kept_scheduling(), self._av.open(str(path), "w") as container:
                stream = container.add_stream(
                    encoder, rate=self._rate, options={**options, "g": str(_GROUP)}
                )
                stream.width, stream.height = self._feature.item_shape[2:0:-1]
                stream.pix_fmt = _PIXEL_FORMAT if self._depth is None else DEPTH_FORMAT
                stream.codec_context.max_b_frames = 0  # presentation order is decoding order
                for number, picture in enumerate(frames_nhwc):
                    frame = self._picture(picture)
                    frame.pts, frame.time_base = number, 1 / self._rate
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
        except (self._av.FFmpegError, ValueError) as exc:
            if isinstance(exc, OSError) and exc.errno in {28, 122}:  # disk or quota is full
                raise
            message = f"'{self._feature.name}' cannot be encoded with {encoder}: {exc}"
            raise DatasetError(message) from exc

    def _picture(self, picture: NDArray[Any]) -> Any:
        if self._depth is None:
            return self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        codes = depth_codes(picture[..., 0], self._depth)
        height, width = codes.shape
        frame = self._av.VideoFrame(width, height, DEPTH_FORMAT)
        plane = frame.planes[0]
        lines = np.zeros((height, plane.line_size // 2), "<u2")
        lines[:, :width] = codes
        plane.update(lines.tobytes())
        return frame

    def _join(self, path: Path, parts: list[Path]) -> None:
        with self._av.open(str(path), "w", options={"movflags": "faststart"}) as joined:
            copy: Any = None
            frames = 0
            for part in parts:
                with self._av.open(str(part)) as container:
                    stream = container.streams.video[0]
                    copy = copy or joined.add_stream_from_template(stream, opaque=True)
                    ticks = 1 / (self._rate * stream.time_base)
                    first = frames
                    for packet in container.demux(stream):
                        if packet.pts is None:
                            continue
                        # Exact multiples of a frame, whatever an encoder made of its clock.
                        number = first + round(packet.pts / ticks)
                        packet.pts = packet.dts = round(number * ticks)
                        packet.stream = copy
                        joined.mux(packet)
                        frames += 1


@contextmanager
def _kept_scheduling() -> Iterator[None]:
    """Give this thread its scheduling back: as root, SVT-AV1 leaves it at the highest of all."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


def video_details(feature: Feature, fps: float, codec: str) -> dict[str, Any]:
    """Return `info` of a video feature as LeRobot writes it."""
    channels, height, width = feature.item_shape
    depth = feature.depth
    return {
        "video.height": height,
        "video.width": width,
        "video.codec": codec if depth is None else _DEPTH_CODEC,
        "video.pix_fmt": _PIXEL_FORMAT if depth is None else DEPTH_FORMAT,
        "video.is_depth_map": False,
        "is_depth_map": False,
        "video.fps": fps,
        "video.channels": channels,
        "has_audio": False,
        **({} if depth is None else depth.to_json()),
    }
