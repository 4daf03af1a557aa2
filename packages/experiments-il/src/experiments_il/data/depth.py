"""Depth videos: 12-bit codes of distances, logarithmic or linear, in lossless HEVC.

Source: LeRobot 0.6.1's depth encoder; formats of its `info.json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PIXEL_FORMAT", "DepthRange", "decode_table", "depth_codes", "read_depth_range"]

PIXEL_FORMAT = "gray12le"
_TOP = 4095


@dataclass(frozen=True, slots=True)
class DepthRange:
    """What the codes 0 to 4095 stand for.

    Attributes:
        min_m: Metres at code 0; what is nearer is written as code 0.
        max_m: Metres at code 4095.
        shift_m: Added before the logarithm.
        is_log: Whether codes are evenly spaced in the logarithm.
    """

    min_m: float = 0.01
    max_m: float = 10.0
    shift_m: float = 3.5
    is_log: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the entries of a feature's `info`."""
        return {
            "is_depth_map": True,
            "video.is_depth_map": True,
            "video.depth_min": self.min_m,
            "video.depth_max": self.max_m,
            "video.shift": self.shift_m,
            "video.use_log": self.is_log,
            "depth_unit": "m",
        }


def read_depth_range(name: str, info: Any) -> DepthRange | None:
    """Return the range of a depth camera; None for any other.

    Args:
        name: The camera.
        info: What `info` of the feature holds.

    Raises:
        DatasetError: A value is no number, or the range is empty.
    """
    if not isinstance(info, dict) or not _is_depth(info):
        return None
    keys = ("video.depth_min", "video.depth_max", "video.shift")
    values = [info.get(key, default) for key, default in zip(keys, (0.01, 10.0, 3.5), strict=True)]
    for key, value in zip(keys, values, strict=True):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            message = f"camera '{name}': '{key}' must be a number, found {value!r}"
            raise DatasetError(message)
    low, high, shift = (float(value) for value in values)
    is_log = bool(info.get("video.use_log", True))
    if low >= high or (is_log and low + shift <= 0):
        message = (
            f"camera '{name}': depths from {low:g} to {high:g} m with a shift of {shift:g} m are "
            "no range"
        )
        raise DatasetError(message)
    return DepthRange(low, high, shift, is_log)


def decode_table(depth: DepthRange) -> NDArray[np.float32]:
    """Return the metres of each code, `(4096,)`."""
    import numpy as np  # noqa: PLC0415 - the static check reads ranges without numpy

    share = np.arange(_TOP + 1) / _TOP
    if not depth.is_log:
        return (depth.min_m + share * (depth.max_m - depth.min_m)).astype(np.float32)
    low, high = (math.log(end + depth.shift_m) for end in (depth.min_m, depth.max_m))
    return (np.exp(low + share * (high - low)) - depth.shift_m).astype(np.float32)


def depth_codes(metres: NDArray[np.floating[Any]], depth: DepthRange) -> NDArray[np.uint16]:
    """Return the nearest codes of distances in metres, those outside the range at its ends."""
    import numpy as np  # noqa: PLC0415 - see above

    clipped = np.clip(np.asarray(metres, np.float64), depth.min_m, depth.max_m)
    low, high = depth.min_m, depth.max_m
    if depth.is_log:
        low, high = (math.log(end + depth.shift_m) for end in (low, high))
        clipped = np.log(clipped + depth.shift_m)
    codes: NDArray[np.uint16] = np.rint(_TOP * (clipped - low) / (high - low)).astype(np.uint16)
    return codes


def _is_depth(info: Mapping[str, Any]) -> bool:
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map"))
