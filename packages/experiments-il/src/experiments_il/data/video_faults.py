"""The faults of the videos of a LeRobotDataset."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from experiments_il.data.faults import Fault, FrameWatch
from experiments_il.data.pyav_video import PyavFile
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from experiments_il.data.lerobot_metadata import LeRobotMetadata

__all__ = ["video_faults"]

_TOLERANCE_S = 1e-4


def video_faults(metadata: LeRobotMetadata, name: str, *, decode: bool) -> list[Fault]:
    """Return the faults of one camera: the first of each file or of each episode.

    Args:
        metadata: The data set.
        name: The camera.
        decode: Whether to decode every frame.
    """
    places = metadata.episodes.videos[name]
    numbers = np.stack([places.chunk, places.file], axis=1)
    found: list[Fault] = []
    for chunk, number in np.unique(numbers, axis=0).tolist():
        path = metadata.video_path(name, chunk, number)
        say = partial(Fault, str(metadata.root), file=str(path))
        try:
            video = PyavFile(path)
        except DatasetError as error:
            found.append(say(message=str(error).removeprefix(f"{path}: ")))
            continue
        rate = _rate(video)
        if rate is not None and abs(1 / rate - 1 / metadata.info.fps) > _TOLERANCE_S:
            wanted = f"info.json says {metadata.info.fps:g}"
            found.append(say(message=f"the video has {rate:.4g} frames/s, {wanted}"))
            continue
        watch = FrameWatch(metadata.root, name, metadata.info.fps, str(path))
        for episode in np.flatnonzero((numbers == (chunk, number)).all(axis=1)).tolist():
            fault = _episode_fault(metadata, name, episode, video, watch if decode else None)
            if fault is not None:
                frame, message = fault
                message = message.removeprefix(f"{path}: ")
                time_s = frame / metadata.info.fps
                found.append(say(message=message, episode=episode, frame=frame, time_s=time_s))
        found += watch.faults()
        video.close()
    return found


def _episode_fault(
    metadata: LeRobotMetadata, name: str, episode: int, video: PyavFile, watch: FrameWatch | None
) -> tuple[int, str] | None:
    """Return the first frame of an episode that is not there, and what is wrong."""
    length = int(metadata.episodes.length[episode])
    first = float(metadata.episodes.videos[name].from_s[episode])
    times = first + np.arange(length) / metadata.info.fps
    after = np.clip(np.searchsorted(video.times_s, times), 1, max(1, len(video.times_s) - 1))
    near = video.times_s[np.minimum(np.stack([after - 1, after]), len(video.times_s) - 1)]
    distance = np.abs(near - times).min(axis=0)
    missing = np.flatnonzero(distance > _TOLERANCE_S)
    if missing.size:
        frame = int(missing[0])
        why = _unevenness(video) or f"the video ends at {video.times_s[-1]:.4f} s"
        return frame, f"no frame at {times[frame]:.4f} s ({missing.size} frames missing); {why}"
    if watch is None:
        return None
    feature = metadata.info.features[name]
    shape = feature.item_shape
    dtype = np.uint8 if feature.depth is None else np.uint16
    for frame, time_s in enumerate(times.tolist()):
        try:
            pixels = video.read(time_s, shape, dtype, f"episode {episode}, frame {frame}")
        except DatasetError as error:
            return frame, str(error)
        watch.see(episode, frame, pixels)
    return None


def _rate(video: PyavFile) -> float | None:
    """Return the frames per second of a video, by the median step; None for a single frame."""
    steps = np.diff(video.times_s)
    return 1 / float(np.median(steps)) if len(steps) and np.median(steps) > 0 else None


def _unevenness(video: PyavFile) -> str | None:
    """Return where the steps of a video differ; None if they do not."""
    steps = np.diff(video.times_s)
    if not len(steps) or np.ptp(steps) <= 2 * _TOLERANCE_S:
        return None
    usual = float(np.median(steps))
    number = int(np.argmax(np.abs(steps - usual)))
    return (
        f"the video is uneven: {steps[number]:.4f} s after {video.times_s[number]:.4f} s instead "
        f"of {usual:.4f} s"
    )
