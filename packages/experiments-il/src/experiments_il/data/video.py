"""Frames of mp4 files by row: each file read once per batch, fork-safe, bounded in open files."""

from __future__ import annotations

import os
from collections import OrderedDict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np

from experiments_il.data.depth import PIXEL_FORMAT, decode_table
from experiments_il.data.optional_packages import import_optional
from experiments_il.data.torchcodec_video import TorchcodecFile, import_torchcodec
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_metadata import LeRobotMetadata

__all__ = ["OpenVideo", "VideoFile", "VideoFrames", "import_av", "require_mp4"]

_TOLERANCE_S = 1e-4
_MAX_OPEN_FILES = 16
_MP4_BEGINNINGS = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})


class OpenVideo(Protocol):
    """One open mp4 and a decoder of it."""

    def read_into(
        self,
        frames: NDArray[Any],
        places: NDArray[np.int64],
        times_s: NDArray[np.float64],
        where: Callable[[int], str],
    ) -> None:
        """Decode the frames shown at some times.

        Args:
            frames: Receives them `(n, C, H, W)`: pixels as uint8, codes of depth as uint16.
            places: Where in `frames` each belongs.
            times_s: Ascending.
            where: Episode and frame of a place, for messages.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


@final
class VideoFrames:
    """The frames of one camera of a data set.

    Args:
        metadata: The data set.
        key: The camera's feature name.
        decoder: `pyav` or `torchcodec`; `auto` is `pyav`. Depth is decoded by PyAV.

    Raises:
        MissingPackageError: The decoder is not installed.
        UserError: torchcodec is installed and cannot be loaded.
    """

    def __init__(self, metadata: LeRobotMetadata, key: str, decoder: str = "auto") -> None:
        feature = metadata.info.features[key]
        self._table = None if feature.depth is None else decode_table(feature.depth)
        is_pyav = decoder == "auto" or self._table is not None
        self._decoder = "pyav" if is_pyav else decoder
        _import_decoder(self._decoder)
        self._metadata = metadata
        self._key = key
        self._shape = feature.item_shape
        places = metadata.episodes.videos[key]
        numbers = np.stack([places.chunk, places.file], axis=1)
        names, self._file_of_episode = np.unique(numbers, axis=0, return_inverse=True)
        self._paths = [metadata.video_path(key, *name) for name in names.tolist()]
        self._files: OrderedDict[Path, OpenVideo] = OrderedDict()
        self._inherited: OrderedDict[Path, OpenVideo] | None = None
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the decoders behind: each process opens its own."""
        return {**self.__dict__, "_files": OrderedDict(), "_inherited": None}

    def identity(self) -> list[Any]:
        """Return what decoded frames depend on: the decoder's version, and each file.

        Raises:
            DatasetError: A file is missing.
        """
        files = []
        for path in self._paths:
            try:
                status = path.stat()
            except OSError as exc:
                message = f"{path}: missing; the data set's metadata names this file"
                raise DatasetError(message) from exc
            files.append([path.name, status.st_size, status.st_mtime_ns])
        return [_decoder_id(self._decoder), files]

    def gather(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the frames at some rows `(*rows.shape, channels, height, width)`.

        They are uint8; depth is float32, in metres. Every frame is decoded once, in the order of
        its file, one call for each file.

        Raises:
            DatasetError: A frame cannot be decoded; the message names file, episode and time.
        """
        wanted, inverse = np.unique(rows, return_inverse=True)
        dtype = np.uint8 if self._table is None else np.uint16
        frames: NDArray[Any] = np.empty((len(wanted), *self._shape), dtype)
        episodes = self._metadata.episodes
        episode = np.searchsorted(episodes.stop, wanted, side="right")
        from_s = episodes.videos[self._key].from_s[episode]
        time_s = from_s + (wanted - episodes.start[episode]) / self._metadata.info.fps
        file = self._file_of_episode[episode]
        for number in np.unique(file).tolist():
            inside = np.flatnonzero(file == number)
            inside = inside[np.argsort(time_s[inside], kind="stable")]
            video = self._open(self._paths[number])
            video.read_into(
                frames, inside, time_s[inside], lambda place: episodes.place(int(wanted[place]))
            )
        is_in_order = len(wanted) == rows.size and bool((np.diff(inverse.ravel()) == 1).all())
        if self._table is not None:
            frames = self._table[frames]
        taken = frames if is_in_order else frames[inverse.ravel()]
        return taken.reshape(*rows.shape, *self._shape)

    def _open(self, path: Path) -> OpenVideo:
        if self._pid != os.getpid():
            # After a fork, the parent's decoders must neither be used nor be freed here: freeing
            # one waits for threads that this process does not have.
            self._inherited, self._files = self._files, OrderedDict()
            self._pid = os.getpid()
        video = self._files.pop(path, None) or _open_video(path, self._decoder)
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
        self._pts = np.sort(np.array([pts for pts, _key in packets], np.int64))
        self._keyframes = np.sort(np.array([pts for pts, is_key in packets if is_key], np.int64))
        self.times_s = self._pts * float(self._stream.time_base)
        self._reformatter = av.video.reformatter.VideoReformatter()
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
        shape = frames.shape[1:]
        read: Callable[..., NDArray[Any]] = self.read
        if frames.dtype == np.uint16:
            read = self.read_codes
        for place, time_s in zip(places.tolist(), times_s.tolist(), strict=True):
            frames[place] = read(time_s, shape, where(place))

    def read(self, time_s: float, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
        """Return the frame shown at a time, uint8 (C, H, W): a view of the decoder's picture."""
        frame = self._frame_at(time_s, where)
        channels, pixel_format = (1, "gray") if shape[0] == 1 else (3, "rgb24")
        picture = self._convert(frame, pixel_format)
        (plane,) = picture.planes
        lines = np.frombuffer(plane, np.uint8).reshape(picture.height, plane.line_size)
        pixels = lines[:, : picture.width * channels]
        chw = pixels.reshape(picture.height, picture.width, channels).transpose(2, 0, 1)
        self._check_shape(chw.shape, shape)
        return chw

    def read_codes(self, time_s: float, shape: tuple[int, ...], where: str) -> NDArray[np.uint16]:
        """Return the 12-bit codes of the depth frame shown at a time, uint16 (1, H, W)."""
        frame = self._frame_at(time_s, where)
        if frame.format.name != PIXEL_FORMAT:
            message = f"{self._path}: frames are {frame.format.name}; depth is {PIXEL_FORMAT}"
            raise DatasetError(message)
        plane = frame.planes[0]
        lines = np.frombuffer(plane, "<u2").reshape(frame.height, plane.line_size // 2)
        codes: NDArray[np.uint16] = np.minimum(lines[None, :, : frame.width], 4095)
        self._check_shape(codes.shape, shape)
        return codes

    def _check_shape(self, found: tuple[int, ...], declared: tuple[int, ...]) -> None:
        if found != declared:
            message = f"{self._path}: frames are {found} (C, H, W), declared {declared}"
            raise DatasetError(message)

    def _frame_at(self, time_s: float, where: str) -> Any:
        after = int(np.searchsorted(self.times_s, time_s))
        near = range(max(0, after - 1), min(after + 1, len(self.times_s)))
        nearest = min(near, key=lambda number: abs(float(self.times_s[number]) - time_s))
        if abs(self.times_s[nearest] - time_s) > _TOLERANCE_S:
            found = f"the nearest is at {self.times_s[nearest]:.4f} s"
            message = f"{self._path}: no frame at {time_s:.4f} s for {where}; {found}"
            raise DatasetError(message)
        try:
            frame = self._decode(int(self._pts[nearest]))
        except self._error as exc:
            message = f"{self._path}: {where} ({time_s:.4f} s) cannot be decoded: {exc}"
            raise DatasetError(message) from exc
        if frame is None:
            message = (
                f"{self._path}: {where} ({time_s:.4f} s) is in the index of the video and not in "
                "its data: the file was cut or changed"
            )
            raise DatasetError(message)
        return frame

    def _convert(self, frame: Any, pixel_format: str) -> Any:
        """Return the frame in another pixel format; one thread is 100 times faster than many."""
        try:
            return self._reformatter.reformat(frame, format=pixel_format, threads=1)
        except TypeError:  # older PyAV, which takes one thread anyway
            return self._reformatter.reformat(frame, format=pixel_format)

    def _decode(self, pts: int) -> Any | None:
        earlier = int(np.searchsorted(self._keyframes, pts, side="right"))
        keyframe = int(self._keyframes[earlier - 1] if earlier else self._pts[0])
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
        return None


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


def _import_decoder(decoder: str) -> Any:
    return import_torchcodec() if decoder == "torchcodec" else import_av()


def _open_video(path: Path, decoder: str) -> OpenVideo:
    if decoder == "torchcodec":
        require_mp4(path)
        return TorchcodecFile(path)
    return VideoFile(path)


def _decoder_id(decoder: str) -> str:
    """Return name and versions: frames are bit-equal where this is equal."""
    if decoder == "torchcodec":
        return f"torchcodec {version('torchcodec')}"
    av = import_av()
    libraries = {name: av.library_versions[name] for name in ("libavcodec", "libswscale")}
    return f"pyav {av.__version__} {libraries}"
