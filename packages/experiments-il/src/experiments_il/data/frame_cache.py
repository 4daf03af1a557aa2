"""The cameras of a data set: planned together, built where needed, opened as arrays or readers."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.frame_plan import CachePlan, CameraFacts, choose, free_memory
from experiments_il.data.images import decoder_id
from experiments_il.data.jpeg_frames import (
    QUALITY,
    JpegFrames,
    encode_jpeg,
    fits_rows,
    write_jpegs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from experiments_il.data.array_cache import ArrayCache, ArrayGroup
    from experiments_il.data.frame_plan import CacheKind, CameraPlan, Kept
    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.source import FrameReader, FrameSource

    Display = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

__all__ = ["FrameCache"]

_SAMPLE = 8
_BLOCK = 64
_PARTS = {"mapped": "uint8", "jpeg": "jpeg"}
_WANTED = {"auto": "mapped", "uint8": "mapped", "jpeg": "jpeg"}


class FrameCache:
    """Keeps the frames of a data set's cameras in the way that was asked for.

    Args:
        source: The data set.
        arrays: Where groups of arrays are kept.
        cache: `auto`, `none`, `low_dim`, `jpeg`, `uint8` or `ram`.
        decoder: Of mp4 files: `auto`, `pyav` or `torchcodec`.
    """

    def __init__(
        self,
        source: FrameSource,
        arrays: ArrayCache,
        cache: CacheKind = "auto",
        decoder: str = "auto",
    ) -> None:
        self._source = source
        self._arrays = arrays
        self._cache = cache
        self._decoder = decoder
        self._rows = int(source.episodes.stop[-1])
        self._plans: dict[str, CameraPlan] = {}
        self._groups: dict[str, ArrayGroup] = {}

    @property
    def plans(self) -> dict[str, CameraPlan]:
        """Return the cameras that are planned so far."""
        return dict(self._plans)

    def plan(self, names: Sequence[str], *, is_chunked: bool = False) -> CachePlan:
        """Decide how cameras are kept; those that were decided before stay so.

        Args:
            names: The cameras.
            is_chunked: Whether their frames are read in runs.

        Raises:
            DatasetError: A video is missing or cannot be decoded.
            StorageError: What was asked for does not fit.
        """
        space = self._arrays.space()
        free = 0 if space is None else space[1]
        facts = [self._look_at(name) for name in names if name not in self._plans]
        for chosen in choose(self._cache, facts, free, has_folder=space is not None):
            self._plans[chosen.name] = chosen
        cameras = "1 camera" if len(names) == 1 else f"{len(names)} cameras"
        plan = CachePlan(
            title=f"{self._source.root} ({self._rows:,} frames of {cameras}, cache: {self._cache})",
            cameras=tuple(self._plans[name] for name in names),
            folder=None if space is None else space[0],
            free_disk=free,
            free_memory=free_memory(),
            is_chunked=is_chunked,
        )
        plan.require_space()
        return plan

    def open(
        self, name: str, display: Display = lambda *_: nullcontext(lambda _: None)
    ) -> NDArray[Any] | FrameReader:
        """Return a camera's frames: an array `(rows, C, H, W)`, or what reads them by row.

        Args:
            name: The camera.
            display: Called as `display(label, frames)` when something is built: a context that
                gives a function to call with how many are done.

        Raises:
            DatasetError: A frame cannot be decoded; the message names file, episode and time.
            StorageError: There is no space for the frames.
        """
        if name not in self._plans:
            self.plan([name])
        kept = self._plans[name].kept
        if kept == "decoded":
            return self._reader(name)
        if name not in self._groups:
            self._groups[name] = self._build(name, kept, display)
        if kept == "jpeg":
            channels, height, width = self._source.features[name].item_shape
            return JpegFrames(self._groups[name], (channels, height, width))
        return self._groups[name].arrays[name]

    def _build(self, name: str, kept: str, display: Display) -> ArrayGroup:
        feature = self._source.features[name]
        spec = {name: (feature.stored_dtype, (self._rows, *feature.item_shape))}

        def fill(arrays: Any) -> dict[str, Any]:
            with display(f"decoding {name}", self._rows) as progress:
                for rows, frames in self._read(feature):
                    arrays[name][rows] = frames
                    progress(rows.stop)
            return {}

        if kept == "memory":
            return self._arrays.in_memory(spec, fill)
        identity = self._identity(feature, kept)
        if kept == "mapped":
            return self._arrays.open(self._group(name, kept), spec, fill, identity, is_large=True)

        def write(folder: Any) -> tuple[dict[str, str], dict[str, Any]]:
            with display(f"encoding {name}", self._rows) as progress:
                return write_jpegs(self._read(feature), self._rows, progress)(folder)

        fits = fits_rows(self._rows)
        return self._arrays.open_files(self._group(name, kept), write, fits, identity)

    def _group(self, name: str, kept: str) -> str:
        return f"camera-{list(self._source.features).index(name)}-{_PARTS[kept]}"

    def _identity(self, feature: Feature, kept: str) -> list[Any]:
        """Return what the frames depend on besides the data set's own fingerprint."""
        decoded = [decoder_id()]
        if feature.dtype == "video":
            decoded = self._source.open_video(feature.name, self._decoder).identity()
        return [*decoded, f"jpeg {QUALITY} {decoder_id()}"] if kept == "jpeg" else decoded

    def _reader(self, name: str) -> FrameReader:
        if self._source.features[name].dtype == "video":
            return self._source.open_video(name, self._decoder)
        reader = self._source.open_images(name)
        if reader is None:
            message = f"{name} is planned to be decoded and cannot be"
            raise RuntimeError(message)
        return reader

    def _read(self, feature: Feature) -> Iterator[tuple[slice, Any]]:
        """Yield (rows, frames) in the order of the rows, a few at a time."""
        if feature.dtype == "image":
            yield from self._source.read_frames(feature.name)
            return
        video = self._source.open_video(feature.name, self._decoder)
        for begin in range(0, self._rows, _BLOCK):
            rows = slice(begin, min(begin + _BLOCK, self._rows))
            yield rows, video.gather(np.arange(rows.start, rows.stop))

    def _look_at(self, name: str) -> CameraFacts:
        """Return what a camera's frames take, after a look at a few of them."""
        feature = self._source.features[name]
        is_video = feature.dtype == "video"
        channels = feature.item_shape[0]
        can_jpeg = feature.depth is None and channels in {1, 3}
        ways: tuple[Kept, ...] = ("mapped", "jpeg")
        built = frozenset(
            kept
            for kept in ways
            if self._arrays.has(self._group(name, kept), self._identity(feature, kept))
        )
        read_s = encode_s = jpeg_bytes = 0.0
        is_there = _WANTED.get(self._cache) in built
        if not is_there and self._cache not in {"none", "low_dim"}:
            read_s, encode_s, jpeg_bytes = self._measure(feature, can_jpeg=can_jpeg)
        item = math.prod(feature.item_shape) * np.dtype(feature.stored_dtype).itemsize
        return CameraFacts(
            name=name,
            is_video=is_video,
            can_decode=is_video or self._source.open_images(name) is not None,
            can_jpeg=can_jpeg,
            array_bytes=self._rows * item,
            jpeg_bytes=round(self._rows * jpeg_bytes),
            read_s=self._rows * read_s,
            encode_s=self._rows * encode_s,
            built=built,
        )

    def _measure(self, feature: Feature, *, can_jpeg: bool) -> tuple[float, float, float]:
        """Return seconds to decode and to encode a frame, and its bytes as JPEG."""
        count = min(_SAMPLE, self._rows)
        began = time.perf_counter()
        if feature.dtype == "video":
            middle = (self._rows - count) // 2
            video = self._source.open_video(feature.name, self._decoder)
            frames = list(video.gather(np.arange(middle, middle + count)))
        else:
            blocks = self._source.read_frames(feature.name)
            frames = list(islice((frame for _rows, block in blocks for frame in block), count))
        read_s = (time.perf_counter() - began) / len(frames)
        if not can_jpeg or self._cache != "jpeg":
            return read_s, 0.0, 0.0
        began = time.perf_counter()
        size = sum(len(encode_jpeg(frame)) for frame in frames) / len(frames)
        return read_s, (time.perf_counter() - began) / len(frames), size
