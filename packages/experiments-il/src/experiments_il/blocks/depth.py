"""Tokens of a frozen depth model, as a further visual source of a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from experiments_il.blocks import depth_anything_3, depth_anything_v2
from experiments_il.blocks.camera_pixels import CameraPixels, Fit, sinusoidal_grid
from experiments_il.blocks.depth_anything_3 import DepthAnything3
from experiments_il.blocks.depth_anything_v2 import DepthAnythingV2
from experiments_il.blocks.opencv_pixels import OpenCVPixels
from experiments_il.blocks.vision_models import FAMILIES
from policy_constructor.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.ranges import Positive

__all__ = ["DepthAnything"]

_NAMES = (*depth_anything_v2.MODELS, *depth_anything_3.MODELS)


class DepthAnything(nn.Module):
    """Depth Anything v2 of `transformers`, or 3 of its own package: image history to tokens.

    It is never trained: its parameters ask for no gradient, it stays in eval mode and computes
    without a graph. Tokens have sinusoidal positions, in which layers and frames follow one another
    as further rows; an info embedder projects them.

    Args:
        name: depth_anything_v2_s, _b or _l; depth_anything_3_s, _b, _l or _mono_l.
        pretrained: Weights, as of `vision_backbone`; `hub`: the model's usual repository.
        strict: Refuse weights that lack a tensor of the model.
        output: `features` of layers of its transformer, one token per cell and layer; or `depth`,
            the depths of a cell's 14x14 pixels as one token.
        layers: Layers whose features are used, from 1; null: the four its own head reads.
        grid: Cells per side that features are pooled to; null: all.
        settings: Fields of the transformer's configuration that are other than the name says; of
            v2 only.
        image_size: Height and width that images are resized to; null: as they come.
        fit: How sides become multiples of 14: `resize` to the nearest, or `pad`.
        n_obs_steps: Frames of the history.

    Raises:
        MissingPackageError: `transformers` or `depth_anything_3` is not installed.
        ValueError: There is no such model or layer, the weights do not fit, or the package
            `depth_anything_3` is of a version that answers otherwise.
    """

    def __init__(
        self,
        name: str = "depth_anything_v2_s",
        pretrained: str | None = None,
        strict: bool = True,
        output: Literal["features", "depth"] = "features",
        layers: Sequence[Positive] | None = None,
        grid: Positive | None = None,
        settings: dict[str, Any] | None = None,
        image_size: tuple[Positive, Positive] | None = None,
        fit: Fit = "resize",
        n_obs_steps: Positive = 1,
    ) -> None:
        super().__init__()
        _require_known(name)
        self.output = output
        self.n_obs_steps = n_obs_steps
        if output == "depth" and (layers is not None or grid is not None):
            message = "layers and grid are those of features; leave them out of output: depth"
            raise ValueError(message)
        is_third = name in depth_anything_3.MODELS
        network = DepthAnything3 if is_third else DepthAnythingV2
        self.model: DepthAnything3 | DepthAnythingV2 = network(
            name,
            pretrained,
            strict=strict,
            layers=layers,
            settings=settings,
            with_head=output == "depth",
        )
        self.pretrained = pretrained is not None  # what `init` leaves alone
        inputs, prepare = FAMILIES["dinov2"], OpenCVPixels if is_third else CameraPixels
        self.patch = self.model.patch
        self.pixels = prepare(inputs.mean, inputs.std, self.patch, image_size, fit)
        self.pool = nn.Identity() if grid is None else nn.AdaptiveAvgPool2d(grid)
        self.requires_grad_(requires_grad=False)
        self.eval()

    def train(self, mode: bool = True) -> DepthAnything:  # noqa: ARG002 - as Module.train
        """Stay in eval mode."""
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Return tokens `(B, n_obs_steps * layers * cells, width)`, oldest frame first.

        The width is that of the transformer (384, 768 or 1024), or 196 for `depth`.

        Args:
            image: `(B, n_obs_steps, 3, height, width)`, or without the frame axis for one frame;
                uint8 in 0..255, or floating point that is normalised already.

        Raises:
            ValueError: The history has another length than the block was built for, or the images
                have no three channels.
        """
        frames = image if image.ndim == 5 else image.unsqueeze(1)
        if frames.ndim != 5 or frames.shape[1] != self.n_obs_steps or frames.shape[2] != 3:
            message = (
                f"image has shape {tuple(image.shape)}, expected {self.n_obs_steps} frame(s) on "
                "axis 1, as n_obs_steps of the depth model says, and 3 channels after them"
            )
            raise ValueError(message)
        pixels = self.pixels(frames.flatten(0, 1))
        cells = self._depth(pixels) if self.output == "depth" else self._features(pixels)
        rows, columns, width = cells.shape[1:]
        cells = cells.reshape(-1, self.n_obs_steps * rows, columns, width)
        if self.output == "features":
            cells = cells + sinusoidal_grid(self.n_obs_steps * rows, columns, width, cells)
        return cells.flatten(1, 2)

    def _features(self, pixels: Tensor) -> Tensor:
        """Return the features of all layers, one below the other, `(N, layers * h, w, C)`."""
        rows, columns = (side // self.patch for side in pixels.shape[-2:])
        maps = []
        for tokens in self.model.look(pixels):
            grid = tokens.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
            maps.append(self.pool(grid))
        return torch.cat(maps, dim=2).permute(0, 2, 3, 1)

    def _depth(self, pixels: Tensor) -> Tensor:
        """Return the depths of each cell's pixels, `(N, h, w, 196)`."""
        rows, columns = (side // self.patch for side in pixels.shape[-2:])
        depth = self.model.measure(pixels)
        cells = depth.reshape(-1, rows, self.patch, columns, self.patch)
        return cells.permute(0, 1, 3, 2, 4).flatten(3)


def _require_known(name: str) -> None:
    if name in _NAMES:
        return
    near = did_you_mean(nearest(name, _NAMES))
    message = f"there is no depth model '{name}'{near}; known: {', '.join(_NAMES)}"
    raise ValueError(message)
