"""Camera images -> the pixels that a model whose package prepares them with OpenCV was given."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments_il.blocks.camera_pixels import CameraPixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OpenCVPixels"]


class OpenCVPixels(CameraPixels):
    """Resizes as `cv2.resize` does: area when a side shrinks, cubic when one grows.

    Images go to `size` first and to multiples of the patch from there, and bytes are whole levels
    after each step, as they are when OpenCV writes images. Arguments as of `CameraPixels`.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return pixels `(N, 3, H', W')`, float32.

        Args:
            images: `(N, 3, H, W)`; uint8 in 0..255 is normalised with `mean` and `std`, floating
                point is taken as normalised already and not rounded.
        """
        whole = not images.is_floating_point()
        levels = images.float()
        if self.size is not None:
            levels = _resize(levels, self.size, whole=whole)
        if self.fit == "resize":
            height, width = (self._nearest(side) for side in levels.shape[-2:])
            levels = _resize(levels, (height, width), whole=whole)
        if whole:
            levels = (levels / 255.0 - self.mean) / self.std
        return self._pad(levels)


def _resize(levels: Tensor, size: tuple[int, int], *, whole: bool) -> Tensor:
    """Return images `(N, 3, *size)`; whole: rounded to 0..255."""
    before = (levels.shape[-2], levels.shape[-1])
    if before == size:
        return levels
    if any(after > side for side, after in zip(before, size, strict=True)):
        resized = nn.functional.interpolate(levels, size, mode="bicubic", align_corners=False)
    else:
        resized = _shrink(levels, size)
    if not whole:
        return resized
    is_half = before == (2 * size[0], 2 * size[1])  # its integer path rounds a half up, not to even
    rounded = (resized + 0.5).floor() if is_half else resized.round()
    return rounded.clamp(0.0, 255.0)


def _shrink(levels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mean of what lies below each new pixel."""
    rows, columns = (
        torch.from_numpy(_overlaps(before, after)).to(levels.device)
        for before, after in zip(levels.shape[-2:], size, strict=True)
    )
    kind = levels.device.type
    with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
        shrunk: Tensor = rows @ (levels @ columns.T)
    return shrunk


@lru_cache(maxsize=32)
def _overlaps(before: int, after: int) -> NDArray[Any]:
    """Return the part of each new pixel that an old one fills, `(after, before)`."""
    side = before / after
    begin = np.arange(after)[:, None] * side
    old = np.arange(before)[None]
    shared = np.minimum(begin + side, old + 1) - np.maximum(begin, old)
    overlaps: NDArray[Any] = (shared.clip(min=0.0) / side).astype(np.float32)
    return overlaps
