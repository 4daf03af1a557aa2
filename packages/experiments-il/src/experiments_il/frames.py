"""The shape of one frame of an observation, from that of a batch key. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["frame_shape"]


def frame_shape(shape: Sequence[int], n_obs_steps: int) -> tuple[int, ...]:
    """Return the shape of a single frame of an observation.

    A key with a window has the history as its first axis: vectors are then 2-dimensional, images
    4-dimensional.

    Args:
        shape: What a sample of the data set has, with or without a history.
        n_obs_steps: Frames of the policy's history.
    """
    sizes = tuple(int(size) for size in shape)
    has_history = len(sizes) > 1 and sizes[0] == n_obs_steps
    if has_history and (n_obs_steps > 1 or len(sizes) in {2, 4}):
        return sizes[1:]
    return sizes
