"""A small camera backbone that needs no batch statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.ranges import Positive

__all__ = ["SmallResNet"]

_GROUP_WIDTH = 16


class SmallResNet(nn.Module):
    """Residual network from camera images to conditioning tokens, with group norm throughout.

    Group norm keeps averaged weights (EMA) valid and does not care how a batch is split over
    devices. The stem and every stage halve the resolution; the last feature map is pooled to a
    grid, one token per cell, with a learned position for each cell and frame.

    Args:
        width: Width D of a token.
        channels: Channels of the stages, multiples of 16. (32, 64, 128) suits 96x96 images.
        blocks_per_stage: Residual blocks in a stage.
        grid: Cells per side: `grid * grid` tokens a frame.
        in_channels: Channels of an image.
        n_obs_steps: Frames of the history.
    """

    def __init__(
        self,
        width: Positive = 256,
        channels: Sequence[int] = (32, 64, 128),
        blocks_per_stage: Positive = 1,
        grid: Positive = 3,
        in_channels: Positive = 3,
        n_obs_steps: Positive = 1,
    ) -> None:
        super().__init__()
        self.n_obs_steps = n_obs_steps
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, channels[0], 5, stride=2, padding=2, bias=False),
            _norm(channels[0]),
            nn.SiLU(),
        ]
        before = channels[0]
        for after in channels:
            for index in range(blocks_per_stage):
                layers.append(_ResidualBlock(before, after, stride=2 if index == 0 else 1))
                before = after
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.project = nn.Linear(before, width)
        self.position = nn.Parameter(torch.randn(n_obs_steps, grid * grid, width) * 0.02)

    def forward(self, image: Tensor) -> Tensor:
        """Return tokens `(B, n_obs_steps * grid * grid, width)`, oldest frame first.

        Args:
            image: `(B, n_obs_steps, C, height, width)`, or without the frame axis for one frame.
                uint8 in 0..255 (scaled to [-1, 1] here), or floating point, used as it is.

        Raises:
            ValueError: The history has another length than the block was built for.
        """
        frames = image if image.ndim == 5 else image.unsqueeze(1)
        if frames.shape[1] != self.n_obs_steps:
            message = (
                f"image has shape {tuple(image.shape)}, expected {self.n_obs_steps} frame(s) on "
                "axis 1: n_obs_steps of the camera backbone decides"
            )
            raise ValueError(message)
        dtype = self.project.weight.dtype
        pixels = frames.flatten(0, 1)
        pixels = pixels.to(dtype) if pixels.is_floating_point() else pixels.to(dtype) / 127.5 - 1
        grid: Tensor = self.pool(self.features(pixels))
        tokens: Tensor = self.project(grid.flatten(2).transpose(1, 2))
        tokens = tokens.reshape(-1, *self.position.shape) + self.position
        return tokens.flatten(1, 2)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection, projected where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            _norm(after),
            nn.SiLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            _norm(after),
        )
        self.skip = (
            nn.Identity()
            if before == after and stride == 1
            else nn.Conv2d(before, after, 1, stride=stride, bias=False)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features `(B, after, height / stride, width / stride)`."""
        return nn.functional.silu(self.body(features) + self.skip(features))


def _norm(channels: int) -> nn.GroupNorm:
    if channels % _GROUP_WIDTH:
        message = f"channels must be multiples of {_GROUP_WIDTH}, got {channels}"
        raise ValueError(message)
    return nn.GroupNorm(channels // _GROUP_WIDTH, channels)
