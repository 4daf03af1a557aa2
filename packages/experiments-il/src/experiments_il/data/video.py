"""Frames of mp4 files by row: each file read once per batch, fork-safe, bounded in open files."""

from __future__ import annotations

import os
from collections import OrderedDict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np

from experiments_il.data.depth import decode_table
from experiments_il.data.frame_memory import FrameMemory
from experiments_il.data.pyav_video import PIXELS, PyavFile, import_av, require_mp4
from experiments_il.data.repeated_rows import RepeatedRows
from experiments_il.data.torchcodec_video import TorchcodecFile, import_torchcodec
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_metadata import LeRobotMetadata

__all__ = ["OpenVideo", "VideoFrames"]

_MAX_OPEN_FILES = 16


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
        self._memory = FrameMemory()

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

    def gather(self, rows: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the frames at some rows `(*rows.shape, channels, height, width)`.

        They are uint8; depth is float32, in metres. Every frame is decoded once, in the order of
        its file, one call for each file.

        Args:
            rows: Their rows.
            out: Receives and is returned as the frames; None: a new array.

        Raises:
            DatasetError: A frame cannot be decoded; the message names file, episode and time.
        """
        repeated = RepeatedRows(rows)
        if self._table is None:
            frames = repeated.frames(self._shape, self._memory, out)
            self._read(rows.ravel(), repeated, frames)
            return repeated.repeat(frames)
        codes = np.empty((rows.size, *self._shape), np.uint16)
        self._read(rows.ravel(), repeated, codes)
        return np.take(self._table, repeated.repeat(codes), out=out)

    def _read(self, flat: NDArray[np.int64], repeated: RepeatedRows, frames: NDArray[Any]) -> None:
        """Decode what is wanted into its places among the flattened rows."""
        episodes, wanted = self._metadata.episodes, repeated.rows
        episode = np.searchsorted(episodes.stop, wanted, side="right")
        from_s = episodes.videos[self._key].from_s[episode]
        time_s = from_s + (wanted - episodes.start[episode]) / self._metadata.info.fps
        file = self._file_of_episode[episode]

        def where(place: int) -> str:
            return episodes.place(int(flat[place]))

        for number in np.unique(file).tolist():
            inside = np.flatnonzero(file == number)
            inside = inside[np.argsort(time_s[inside], kind="stable")]
            video = self._open(self._paths[number])
            video.read_into(frames, repeated.places[inside], time_s[inside], where)

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


def _import_decoder(decoder: str) -> Any:
    return import_torchcodec() if decoder == "torchcodec" else import_av()


def _open_video(path: Path, decoder: str) -> OpenVideo:
    if decoder == "torchcodec":
        require_mp4(path)
        return TorchcodecFile(path)
    return PyavFile(path)


def _decoder_id(decoder: str) -> str:
    """Return name and versions: frames are bit-equal where this is equal."""
    if decoder == "torchcodec":
        return f"torchcodec {version('torchcodec')}"
    av = import_av()
    libraries = {name: av.library_versions[name] for name in ("libavcodec", "libswscale")}
    return f"pyav {av.__version__} {libraries} {PIXELS}"
