"""Camera images -> the pixels that a pretrained model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CameraPixels", "Fit", "sinusoidal_grid"]

Fit: TypeAlias = Literal["resize", "pad"]


class CameraPixels(nn.Module):
    """Scales, resizes and normalises images; sides become multiples of a model's patch.

    Args:
        mean: Mean of the pixels in [0, 1], per channel.
        std: Their standard deviation.
        multiple: Pixels that both sides must be multiples of.
        size: Height and width to resize to; None: that of the images.
        fit: How a side becomes a multiple: `resize` to the nearest one, or `pad` below and to the
            right with the mean.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        multiple: int,
        size: Sequence[int] | None = None,
        fit: Fit = "resize",
    ) -> None:
        super().__init__()
        self.multiple = multiple
        self.size = None if size is None else (size[0], size[1])
        self.fit = fit
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return pixels `(N, 3, H', W')`, float32.

        Args:
            images: `(N, 3, H, W)`; uint8 in 0..255 is normalised with `mean` and `std`, floating
                point is taken as normalised already.
        """
        is_normal = images.is_floating_point()
        pixels = images.float() if is_normal else images.float() / 255.0
        resized = self._resize(pixels)
        if not is_normal:
            resized = (resized - self.mean) / self.std
        return self._pad(resized)

    def _resize(self, pixels: Tensor) -> Tensor:
        height, width = self.size or pixels.shape[-2:]
        if self.fit == "resize":
            height, width = (self._nearest(side) for side in (height, width))
        if (height, width) == tuple(pixels.shape[-2:]):
            return pixels
        return nn.functional.interpolate(
            pixels, (height, width), mode="bilinear", align_corners=False, antialias=True
        )

    def _nearest(self, side: int) -> int:
        return max(1, (side + self.multiple // 2) // self.multiple) * self.multiple

    def _pad(self, pixels: Tensor) -> Tensor:
        below, right = (-side % self.multiple for side in pixels.shape[-2:])
        if not below and not right:
            return pixels
        return nn.functional.pad(pixels, (0, right, 0, below))


def sinusoidal_grid(rows: int, columns: int, width: int, like: Tensor) -> Tensor:
    """Return positions `(rows, columns, width)`: half the channels for the row, half the column.

    Args:
        rows: Cells in a column.
        columns: Cells in a row.
        width: A multiple of 4.
        like: A tensor with the wanted dtype and device.

    Source: Vaswani et al., arXiv:1706.03762, for both axes as in He et al., arXiv:2111.06377.
    """
    quarter = width // 4
    frequencies = 10_000.0 ** (-torch.arange(quarter, device=like.device) / quarter)

    def encode(count: int) -> Tensor:
        angles = torch.arange(count, device=like.device)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    by_row = encode(rows)[:, None].expand(-1, columns, -1)
    by_column = encode(columns)[None].expand(rows, -1, -1)
    return torch.cat([by_row, by_column], dim=-1).to(like.dtype)
