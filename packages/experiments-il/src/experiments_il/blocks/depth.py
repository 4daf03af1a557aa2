"""Tokens of a frozen depth model, as a further visual source of a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from experiments_il.blocks.camera_pixels import CameraPixels, Fit, sinusoidal_grid
from experiments_il.blocks.pretrained import HUB, build_pretrained
from experiments_il.blocks.vision import import_transformers
from experiments_il.blocks.vision_models import FAMILIES
from policy_constructor.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.ranges import Positive

__all__ = ["DepthAnything"]

_REPOSITORY = "depth-anything/Depth-Anything-V2-{}-hf"
_MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "depth_anything_v2_s": (
        "Small",
        {"hidden_size": 384, "num_attention_heads": 6, "out_indices": [3, 6, 9, 12]},
        {},
    ),
    "depth_anything_v2_b": (
        "Base",
        {"hidden_size": 768, "num_attention_heads": 12, "out_indices": [3, 6, 9, 12]},
        {
            "neck_hidden_sizes": [96, 192, 384, 768],
            "fusion_hidden_size": 128,
        },
    ),
    "depth_anything_v2_l": (
        "Large",
        {
            "hidden_size": 1024,
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "out_indices": [5, 12, 18, 24],
        },
        {
            "neck_hidden_sizes": [256, 512, 1024, 1024],
            "fusion_hidden_size": 256,
        },
    ),
}


class DepthAnything(nn.Module):
    """Depth Anything v2 of `transformers`: image history to tokens, never trained.

    Its parameters ask for no gradient, it stays in eval mode and computes without a graph. Tokens
    have sinusoidal positions, in which layers and frames follow one another as further rows; an
    info embedder projects them. Version 3 is not in `transformers`: a plugin's block with tokens
    `(B, tokens, width)` serves `trainer.depth_models` as well.

    Args:
        name: depth_anything_v2_s, depth_anything_v2_b or depth_anything_v2_l.
        pretrained: Weights, as of `vision_backbone`; `hub`: the model's usual repository.
        strict: Refuse weights that lack a tensor of the model.
        output: `features` of layers of its transformer, one token per cell and layer; or `depth`,
            the depths of a cell's 14x14 pixels as one token.
        layers: Layers whose features are used, from 1; null: the four its own head reads.
        grid: Cells per side that features are pooled to; null: all.
        settings: Fields of the transformer's configuration that are other than the name says.
        image_size: Height and width that images are resized to; null: as they come.
        fit: How sides become multiples of 14: `resize` to the nearest, or `pad`.
        n_obs_steps: Frames of the history.

    Raises:
        MissingPackageError: `transformers` is not installed.
        ValueError: There is no such model or layer, or the weights do not fit.
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
        size, backbone, head = _MODELS[name]
        built = _build_config(backbone | (settings or {}), head, layers)
        transformers = import_transformers()
        source = HUB + _REPOSITORY.format(size) if pretrained == HUB.rstrip(":") else pretrained
        model_class = transformers.DepthAnythingForDepthEstimation
        model = build_pretrained(model_class, built, source, strict=strict)
        if output == "depth" and (layers is not None or grid is not None):
            message = "layers and grid are those of features; leave them out of output: depth"
            raise ValueError(message)
        self.patch = int(built.backbone_config.patch_size)
        self.layers = tuple(built.backbone_config.out_indices)
        self.backbone = model.backbone
        self.backbone.encoder.layer = self.backbone.encoder.layer[: max(self.layers)]
        for module in self.backbone.modules():
            # They record for its own forward, and cannot be sent to another process.
            module._forward_hooks.clear()  # noqa: SLF001 - torch has no public way
        self.neck: Any = model.neck if output == "depth" else None
        self.head: Any = model.head if output == "depth" else None
        self.pretrained = pretrained is not None  # what `init` leaves alone
        inputs = FAMILIES["dinov2"]
        self.pixels = CameraPixels(inputs.mean, inputs.std, self.patch, image_size, fit)
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

    def _look(self, pixels: Tensor) -> list[Tensor]:
        """Return the tokens `(N, 1 + cells, C)` of the chosen layers, the class token first."""
        hidden, found = self.backbone.embeddings(pixels), {}
        for number, layer in enumerate(self.backbone.encoder.layer, start=1):
            hidden = layer(hidden)
            if number in self.layers:
                found[number] = self.backbone.layernorm(hidden)
        return [found[number] for number in self.layers]

    def _features(self, pixels: Tensor) -> Tensor:
        """Return the features of all layers, one below the other, `(N, layers * h, w, C)`."""
        rows, columns = (side // self.patch for side in pixels.shape[-2:])
        maps = []
        for tokens in self._look(pixels):
            grid = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)
            maps.append(self.pool(grid))
        return torch.cat(maps, dim=2).permute(0, 2, 3, 1)

    def _depth(self, pixels: Tensor) -> Tensor:
        """Return the depths of each cell's pixels, `(N, h, w, 196)`."""
        rows, columns = (side // self.patch for side in pixels.shape[-2:])
        depth: Tensor = self.head(self.neck(self._look(pixels), rows, columns), rows, columns)
        cells = depth.reshape(-1, rows, self.patch, columns, self.patch)
        return cells.permute(0, 1, 3, 2, 4).flatten(3)


def _require_known(name: str) -> None:
    if name in _MODELS:
        return
    if name.startswith(("depth_anything_v3", "depth_anything_3")):
        message = (
            f"'{name}' is not in transformers; name the block of a plugin that brings it, or use "
            "depth_anything_v2_s, depth_anything_v2_b or depth_anything_v2_l"
        )
        raise ValueError(message)
    near = did_you_mean(nearest(name, _MODELS))
    message = f"there is no depth model '{name}'{near}; known: {', '.join(_MODELS)}"
    raise ValueError(message)


def _build_config(
    backbone: dict[str, Any], head: dict[str, Any], layers: Sequence[int] | None
) -> Any:
    transformers = import_transformers()
    fixed = {"image_size": 518, "patch_size": 14, "reshape_hidden_states": False}
    total = backbone.get("num_hidden_layers", 12)
    wrong = [layer for layer in layers or () if not 1 <= layer <= total]
    if wrong:
        message = f"there is no layer {wrong[0]}; the model has 1 to {total}"
        raise ValueError(message)
    chosen = {} if layers is None else {"out_indices": sorted(set(layers))}
    inner = transformers.Dinov2Config(**(fixed | backbone | chosen))
    return transformers.DepthAnythingConfig(
        backbone_config=inner,
        patch_size=inner.patch_size,
        reassemble_hidden_size=inner.hidden_size,
        **head,
    )
