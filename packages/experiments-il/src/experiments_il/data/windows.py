"""Windows as users give them, in seconds, as whole frames.

Source: LeRobotDataset's `delta_timestamps` (lerobot 0.4.4 to 0.6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments_il.data.batch_features import FARTHEST
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["frame_offsets"]


def frame_offsets(
    delta_timestamps: Mapping[str, Sequence[float]], fps: float, tolerance_s: float = 1e-4
) -> dict[str, tuple[int, ...]]:
    """Return time differences in seconds as offsets in frames.

    Raises:
        DatasetError: A difference is not a whole number of frames within `tolerance_s`; all such
            are listed with the nearest valid value. Or it is too large for any episode.
    """
    offsets: dict[str, tuple[int, ...]] = {}
    wrong: list[str] = []
    for key, deltas in delta_timestamps.items():
        far = [delta for delta in deltas if not abs(delta * fps) <= FARTHEST]
        if far:
            message = f"delta_timestamps.{key}: {far[0]:g} s is more than {FARTHEST} frames away"
            raise DatasetError(message)
        frames = [round(delta * fps) for delta in deltas]
        offsets[key] = tuple(frames)
        wrong += [
            f"{key}: {delta:g} s (nearest: {frame / fps:g} s)"
            for delta, frame in zip(deltas, frames, strict=True)
            if abs(delta * fps - frame) > tolerance_s * fps
        ]
    if wrong:
        message = f"delta_timestamps must be multiples of 1/{fps:g} s; not so: {', '.join(wrong)}"
        raise DatasetError(message)
    return offsets
