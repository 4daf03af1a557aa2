"""What becomes of each camera's frames: how they are kept, how much that takes, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from trainer_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CacheKind", "CachePlan", "CameraFacts", "CameraPlan", "Kept", "choose", "free_memory"]

CacheKind: TypeAlias = Literal["auto", "none", "low_dim", "jpeg", "uint8", "ram"]
Kept: TypeAlias = Literal["decoded", "jpeg", "mapped", "memory"]

_AUTO_VIDEO_BYTES = 2 << 30
_AUTO_VIDEO_SHARE = 0.1
_AUTO_IMAGE_SHARE = 0.5
_MEMORY_SHARE = 0.8
_CGROUP = Path("/sys/fs/cgroup")
_WORDS = {
    "decoded": "decoded",
    "jpeg": "JPEG on disk",
    "mapped": "uint8 on disk",
    "memory": "uint8 in memory",
}


@dataclass(frozen=True)
class CameraFacts:
    """What is known of a camera before its frames are kept in some way.

    Attributes:
        name: The feature.
        is_video: Whether its frames are in mp4 files.
        can_decode: Whether single frames can be read from its files.
        can_jpeg: Whether its frames are pixels of 1 or 3 channels.
        array_bytes: All frames as an array.
        jpeg_bytes: All frames as JPEG, from a few of them.
        read_s: Seconds to decode all frames, from a few of them.
        encode_s: Seconds to encode them as JPEG, likewise.
        built: Which ways of keeping them are there already.
    """

    name: str
    is_video: bool
    can_decode: bool
    can_jpeg: bool
    array_bytes: int
    jpeg_bytes: int
    read_s: float
    encode_s: float
    built: frozenset[Kept] = frozenset()


@dataclass(frozen=True)
class CameraPlan:
    """How the frames of a camera are kept.

    Attributes:
        name: The feature.
        kept: In which way.
        bytes: On disk or in memory; 0 if decoded, or not looked at.
        build_s: Expected seconds until they are there.
        reason: Why.
        is_built: Whether they are there already.
    """

    name: str
    kept: Kept
    bytes: int
    build_s: float
    reason: str
    is_built: bool = False


@dataclass(frozen=True)
class CachePlan:
    """The plan of a data set.

    Attributes:
        title: The data set, and what was asked for.
        cameras: Each camera.
        folder: Where files go; None if no folder can be written.
        free_disk: Bytes free there.
        free_memory: Bytes of memory that are free.
        is_chunked: Whether frames are read in runs.
    """

    title: str
    cameras: tuple[CameraPlan, ...]
    folder: Path | None
    free_disk: int
    free_memory: int
    is_chunked: bool = False

    @property
    def work(self) -> tuple[CameraPlan, ...]:
        """Return the cameras that must be built."""
        return tuple(
            camera for camera in self.cameras if camera.kept != "decoded" and not camera.is_built
        )

    def require_space(self) -> None:
        """Check that what is to be built fits.

        Raises:
            StorageError: It does not; the message has the sizes and the ways out.
        """
        on_disk = sum(each.bytes for each in self.work if each.kept != "memory")
        in_memory = sum(each.bytes for each in self.work if each.kept == "memory")
        if on_disk > self.free_disk:
            message = (
                f"{self.title}: the frames need {_size(on_disk)} on disk, {_size(self.free_disk)} "
                f"are free in {self.folder}; set cache_dir to another disk, or cache to jpeg, "
                "low_dim or none"
            )
            raise StorageError(message)
        if in_memory > _MEMORY_SHARE * self.free_memory:
            message = (
                f"{self.title}: the frames need {_size(in_memory)} of memory, "
                f"{_size(self.free_memory)} are free; set cache to uint8, jpeg or low_dim"
            )
            raise StorageError(message)

    def lines(self) -> list[str]:
        """Return the plan in words, a line each."""
        width = max(len(camera.name) for camera in self.cameras)
        found = [f"frames of {self.title}"]
        for camera in self.cameras:
            size = f", {_size(camera.bytes)}" if camera.bytes else ""
            time = ""
            if camera in self.work:
                time = f", about {_duration(camera.build_s)} to build"
            elif camera.is_built:
                time = ", there already"
            kept = f"{_WORDS[camera.kept]}{size}{time}"
            found.append(f"  {camera.name:<{width}}  {kept}: {camera.reason}")
        total = sum(camera.bytes for camera in self.work)
        if total:
            seconds = sum(camera.build_s for camera in self.work)
            found.append(
                f"  together {_size(total)} in about {_duration(seconds)}; free: "
                f"{_size(self.free_disk)} in {self.folder}, {_size(self.free_memory)} of memory"
            )
        found.append(f"  {self.advice()}")
        return found

    def advice(self) -> str:
        """Return which number of loader processes suits the plan."""
        is_decoded = any(camera.kept in {"decoded", "jpeg"} for camera in self.cameras)
        if is_decoded and self.is_chunked:
            return (
                "frames are decoded once, in runs: data.num_workers: 0, for each loader process "
                "would decode every run"
            )
        if is_decoded:
            return (
                "frames are decoded for every batch: data.num_workers: "
                f"{max(1, _processors() - 1)} keeps this machine's processors busy with it"
            )
        return "nothing is decoded for a batch: data.num_workers: 0 is fastest"


def choose(
    cache: CacheKind, cameras: Sequence[CameraFacts], free_disk: int, *, has_folder: bool
) -> tuple[CameraPlan, ...]:
    """Return how each camera is kept.

    `auto` keeps every pixel: images as arrays where they fit, videos as arrays where they are
    small, and decodes otherwise. It never writes JPEG, which is lossy.

    Args:
        cache: What was asked for.
        cameras: The cameras of a batch.
        free_disk: Bytes free where files would go.
        has_folder: Whether a folder can be written.
    """
    video_bytes = sum(each.array_bytes for each in cameras if each.is_video)
    image_bytes = sum(each.array_bytes for each in cameras if not each.is_video)
    limit = min(_AUTO_VIDEO_BYTES, int(_AUTO_VIDEO_SHARE * free_disk), free_memory() // 2)
    return tuple(
        _choose_auto(each, video_bytes <= limit, image_bytes <= _AUTO_IMAGE_SHARE * free_disk)
        if cache == "auto" and has_folder
        else _choose_asked(cache, each, has_folder=has_folder)
        for each in cameras
    )


def _choose_auto(camera: CameraFacts, fits_video: bool, fits_image: bool) -> CameraPlan:
    if "mapped" in camera.built:
        return _plan(camera, "mapped", "they were built before")
    if camera.is_video and not fits_video:
        size = _size(camera.array_bytes)
        return _plan(camera, "decoded", f"as arrays they take {size}, for cache: uint8 to decide")
    if not camera.is_video and not fits_image:
        reason = f"as arrays they take {_size(camera.array_bytes)}, half of the disk or more"
        return _plan(camera, "decoded" if camera.can_decode else "memory", reason)
    reason = "small, and read many times faster" if camera.is_video else "the default for images"
    return _plan(camera, "mapped", reason)


def _choose_asked(cache: CacheKind, camera: CameraFacts, *, has_folder: bool) -> CameraPlan:
    kept: Kept = "mapped"
    reason = f"cache: {cache}"
    if cache == "ram":
        kept = "memory"
    elif cache in {"none", "low_dim"}:
        kept = "decoded"
        if not camera.can_decode:
            kept, reason = "memory", "single frames cannot be read from files of this format"
    elif not has_folder:
        kept = "decoded" if cache == "auto" and camera.is_video else "memory"
        reason = "no folder can be written"
    elif cache == "jpeg" and camera.can_jpeg:
        kept = "jpeg"
    elif cache == "jpeg":
        reason = "JPEG holds 1 or 3 channels of 8 bits, not these"
    return _plan(camera, kept, reason)


def _plan(camera: CameraFacts, kept: Kept, reason: str) -> CameraPlan:
    size = {"decoded": 0, "jpeg": camera.jpeg_bytes}.get(kept, camera.array_bytes)
    build_s = {"decoded": 0.0, "jpeg": camera.read_s + camera.encode_s}.get(kept, camera.read_s)
    return CameraPlan(camera.name, kept, size, build_s, reason, kept in camera.built)


def free_memory() -> int:
    """Return the bytes of memory that this process may still take."""
    try:
        fields = Path("/proc/meminfo").read_text(encoding="ascii").split()
        free = 1024 * int(fields[fields.index("MemAvailable:") + 1])
    except (OSError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return free
    return max(0, min(free, limit - used))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
