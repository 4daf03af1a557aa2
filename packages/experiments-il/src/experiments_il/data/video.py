"""Frames of mp4 files by integer index, through PyAV: exact, fork-safe, bounded in open files."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, final

import numpy as np

from experiments_il.data.optional_packages import import_optional
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_metadata import LeRobotMetadata

__all__ = ["VideoFile", "VideoFrames", "import_av"]

_TOLERANCE_S = 1e-4
_MAX_OPEN_FILES = 16


@final
class VideoFrames:
    """The frames of one camera of a data set.

    Args:
        metadata: The data set.
        key: The camera's feature name.

    Raises:
        DatasetError: The camera records depth, which is not read yet.
        MissingPackageError: PyAV is not installed.
    """

    def __init__(self, metadata: LeRobotMetadata, key: str) -> None:
        import_av()
        self._metadata = metadata
        self._key = key
        self._shape = metadata.info.features[key].item_shape
        details = metadata.info.raw["features"][key].get("info") or {}
        if details.get("is_depth_map"):
            message = f"{metadata.root}: '{key}' is a depth video, which is not supported yet"
            raise DatasetError(message)
        self._files: OrderedDict[Path, VideoFile] = OrderedDict()
        self._inherited: OrderedDict[Path, VideoFile] | None = None
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the decoders behind: each process opens its own."""
        return {**self.__dict__, "_files": OrderedDict(), "_inherited": None}

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the frames at some rows, uint8 `(*rows.shape, channels, height, width)`.

        Every frame is decoded once, in the order of its file.

        Raises:
            DatasetError: A frame cannot be decoded; the message names file, episode and time.
        """
        wanted, inverse = np.unique(rows, return_inverse=True)
        frames = np.empty((len(wanted), *self._shape), np.uint8)
        episodes = self._metadata.episodes
        places = episodes.videos[self._key]
        episode = np.searchsorted(episodes.stop, wanted, side="right")
        time_s = (
            places.from_s[episode] + (wanted - episodes.start[episode]) / self._metadata.info.fps
        )
        numbers = np.stack([places.chunk[episode], places.file[episode]], axis=1)
        for chunk, file in np.unique(numbers, axis=0).tolist():
            inside = np.flatnonzero((numbers == (chunk, file)).all(axis=1))
            video = self._open(self._metadata.video_path(self._key, chunk, file))
            inside = inside[np.argsort(time_s[inside], kind="stable")]
            for position in inside.tolist():
                where = episodes.place(int(wanted[position]))
                frames[position] = video.read(float(time_s[position]), self._shape, where)
        return frames[inverse.reshape(rows.shape)]

    def _open(self, path: Path) -> VideoFile:
        if self._pid != os.getpid():
            # After a fork, the parent's decoders must neither be used nor be freed here: freeing
            # one waits for threads that this process does not have.
            self._inherited, self._files = self._files, OrderedDict()
            self._pid = os.getpid()
        video = self._files.pop(path, None) or VideoFile(path)
        self._files[path] = video
        if len(self._files) > _MAX_OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        return video


class VideoFile:
    """One open mp4: its table of presentation times, and a decoder somewhere in the stream.

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
        try:
            self._container = av.open(str(path))
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
        self._pts = np.sort(np.array([pts for pts, _key in packets], np.int64))
        self._keyframes = np.sort(np.array([pts for pts, is_key in packets if is_key], np.int64))
        self.times_s = self._pts * float(self._stream.time_base)
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._decoder: Iterator[Any] = iter(())
        self._position: int | None = None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read(self, time_s: float, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
        """Return the frame shown at a time, uint8 (C, H, W)."""
        nearest = int(np.argmin(np.abs(self.times_s - time_s)))
        if abs(self.times_s[nearest] - time_s) > _TOLERANCE_S:
            found = f"the nearest is at {self.times_s[nearest]:.4f} s"
            message = f"{self._path}: no frame at {time_s:.4f} s for {where}; {found}"
            raise DatasetError(message)
        try:
            frame = self._decode(int(self._pts[nearest]))
        except self._error as exc:
            message = f"{self._path}: {where} ({time_s:.4f} s) cannot be decoded: {exc}"
            raise DatasetError(message) from exc
        pixel_format = "gray" if shape[0] == 1 else "rgb24"
        pixels = self._convert(frame, pixel_format).to_ndarray()
        chw: NDArray[np.uint8] = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if chw.shape != shape:
            message = f"{self._path}: frames are {chw.shape} (C, H, W), declared {shape}"
            raise DatasetError(message)
        return chw

    def _convert(self, frame: Any, pixel_format: str) -> Any:
        """Return the frame in another pixel format; one thread is 100 times faster than many."""
        try:
            return self._reformatter.reformat(frame, format=pixel_format, threads=1)
        except TypeError:  # older PyAV, which takes one thread anyway
            return self._reformatter.reformat(frame, format=pixel_format)

    def _decode(self, pts: int) -> Any:
        earlier = self._keyframes[self._keyframes <= pts]
        keyframe = int(earlier[-1]) if earlier.size else int(self._pts[0])
        if self._position is None or not keyframe <= self._position < pts:
            self._container.seek(keyframe, stream=self._stream, backward=True)
            self._decoder = self._container.decode(self._stream)
        for frame in self._decoder:
            self._position = frame.pts
            if frame.pts == pts:
                return frame
            if frame.pts > pts:
                break
        self._position = None
        message = f"{self._path}: the frame with pts {pts} is in the index and not in the stream"
        raise DatasetError(message)


def import_av() -> Any:
    """Return PyAV, or raise `MissingPackageError`."""
    need = "reading and writing videos"
    import_optional("av.video.reformatter", need, "video")
    return import_optional("av", need, "video")
