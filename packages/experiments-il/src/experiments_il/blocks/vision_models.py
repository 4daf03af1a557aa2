"""Camera backbones of `transformers` by name: their sizes, their inputs and what they return."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ARCHITECTURES", "FAMILIES", "Architecture", "Family"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True, slots=True)
class Family:
    """Models of one class.

    Attributes:
        model: Name of the class in `transformers`.
        config: Name of its configuration.
        mean: Mean of the pixels in [0, 1] that the published weights were trained with.
        std: Their standard deviation.
        run: `(model, pixels (N, 3, H, W)) -> (features (N, h, w, C), summary (N, S))`.
        multiple: `config -> pixels` that height and width must be multiples of.
        adjust: Changes of the configuration: what is random or unused while training is off.
    """

    model: str
    config: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    run: Callable[[Any, Tensor], tuple[Tensor, Tensor]]
    multiple: Callable[[Any], int]
    adjust: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model by name.

    Attributes:
        family: Key of `FAMILIES`.
        config: What its configuration has besides the family's defaults.
        repository: Where its weights are published on the Hugging Face hub.
    """

    family: str
    config: Mapping[str, Any]
    repository: str


def _patches(config: Any) -> int:
    return int(config.patch_size)


def _total_stride(config: Any) -> int:
    """Return the stride of a stem by 4 and of stages that halve from the second on."""
    return int(4 * 2 ** (len(config.depths) - 1))


def _grid(model: Any, pixels: Tensor, tokens: Tensor) -> Tensor:
    """Return patch tokens `(N, h * w, C)` as `(N, h, w, C)`."""
    rows, columns = (side // model.config.patch_size for side in pixels.shape[-2:])
    return tokens.reshape(len(tokens), rows, columns, -1)


def _run_resnet(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    output = model(pixels)
    return output.last_hidden_state.permute(0, 2, 3, 1), output.pooler_output.flatten(1)


def _run_vit(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Run a transformer with a class token and perhaps register tokens before its patches."""
    tokens = model(pixels).last_hidden_state
    before = 1 + getattr(model.config, "num_register_tokens", 0)
    return _grid(model, pixels, tokens[:, before:]), tokens[:, 0]


def _run_convnext(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    tokens = model(pixels).last_hidden_state
    rows, columns = (side // _total_stride(model.config) for side in pixels.shape[-2:])
    return tokens[:, 1:].reshape(len(tokens), rows, columns, -1), tokens[:, 0]


def _run_siglip(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    output = model(pixels, interpolate_pos_encoding=True)
    return _grid(model, pixels, output.last_hidden_state), output.pooler_output


def _run_siglip2(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Run a model that takes patches, all of them real, and each image's grid."""
    side = model.config.patch_size
    count, _, height, width = pixels.shape
    rows, columns = height // side, width // side
    patches = pixels.reshape(count, -1, rows, side, columns, side)
    patches = patches.permute(0, 2, 4, 3, 5, 1).reshape(count, rows * columns, -1)
    shapes = torch.tensor([[rows, columns]] * count, device="cpu")  # read as numbers there
    output = model(patches, None, shapes)
    return _grid(model, pixels, output.last_hidden_state), output.pooler_output


def _run_radio(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    output = model(pixels)
    return _grid(model, pixels, output.features), output.summary


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "resnet": Family("ResNetModel", "ResNetConfig", *_IMAGENET, _run_resnet, _total_stride),
        "dinov2": Family(
            "Dinov2Model",
            "Dinov2Config",
            *_IMAGENET,
            _run_vit,
            _patches,
            MappingProxyType({"use_mask_token": False}),
        ),
        "dinov2_reg": Family(
            "Dinov2WithRegistersModel",
            "Dinov2WithRegistersConfig",
            *_IMAGENET,
            _run_vit,
            _patches,
        ),
        "dinov3_vit": Family(
            "DINOv3ViTModel",
            "DINOv3ViTConfig",
            *_IMAGENET,
            _run_vit,
            _patches,
            MappingProxyType({"pos_embed_rescale": None}),
        ),
        "dinov3_convnext": Family(
            "DINOv3ConvNextModel",
            "DINOv3ConvNextConfig",
            *_IMAGENET,
            _run_convnext,
            _total_stride,
        ),
        "siglip": Family("SiglipVisionModel", "SiglipVisionConfig", *_HALF, _run_siglip, _patches),
        "siglip2_naflex": Family(
            "Siglip2VisionModel", "Siglip2VisionConfig", *_HALF, _run_siglip2, _patches
        ),
        "radio": Family("RadioModel", "RadioConfig", *_CLIP, _run_radio, _patches),
    }
)


def _transformer(width: int, layers: int, heads: int, **others: Any) -> dict[str, Any]:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return sizes | others


_SMALL, _BASE, _LARGE = (384, 12, 6), (768, 12, 12), (1024, 24, 16)


def _resnet(layer_type: str, depths: list[int], repository: str) -> Architecture:
    sizes = [64, 128, 256, 512] if layer_type == "basic" else [256, 512, 1024, 2048]
    config = {"layer_type": layer_type, "hidden_sizes": sizes, "depths": depths}
    return Architecture("resnet", config, repository)


def _dinov2(size: tuple[int, int, int], repository: str) -> Architecture:
    config = _transformer(*size, image_size=518, patch_size=14)
    return Architecture("dinov2_reg" if "registers" in repository else "dinov2", config, repository)


def _dinov3(size: tuple[int, int, int], repository: str) -> Architecture:
    config = _transformer(*size, intermediate_size=4 * size[0], num_register_tokens=4)
    return Architecture("dinov3_vit", config, repository)


def _dinov3_convnext(sizes: list[int], depths: list[int], repository: str) -> Architecture:
    return Architecture("dinov3_convnext", {"hidden_sizes": sizes, "depths": depths}, repository)


_NARROW = [96, 192, 384, 768]

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "resnet18": _resnet("basic", [2, 2, 2, 2], "microsoft/resnet-18"),
        "resnet34": _resnet("basic", [3, 4, 6, 3], "microsoft/resnet-34"),
        "resnet50": _resnet("bottleneck", [3, 4, 6, 3], "microsoft/resnet-50"),
        "dinov2_s": _dinov2(_SMALL, "facebook/dinov2-small"),
        "dinov2_b": _dinov2(_BASE, "facebook/dinov2-base"),
        "dinov2_l": _dinov2(_LARGE, "facebook/dinov2-large"),
        "dinov2_reg_s": _dinov2(_SMALL, "facebook/dinov2-with-registers-small"),
        "dinov2_reg_b": _dinov2(_BASE, "facebook/dinov2-with-registers-base"),
        "dinov2_reg_l": _dinov2(_LARGE, "facebook/dinov2-with-registers-large"),
        "dinov3_vits16": _dinov3(_SMALL, "facebook/dinov3-vits16-pretrain-lvd1689m"),
        "dinov3_vitb16": _dinov3(_BASE, "facebook/dinov3-vitb16-pretrain-lvd1689m"),
        "dinov3_vitl16": _dinov3(_LARGE, "facebook/dinov3-vitl16-pretrain-lvd1689m"),
        "dinov3_convnext_tiny": _dinov3_convnext(
            _NARROW, [3, 3, 9, 3], "facebook/dinov3-convnext-tiny-pretrain-lvd1689m"
        ),
        "dinov3_convnext_small": _dinov3_convnext(
            _NARROW, [3, 3, 27, 3], "facebook/dinov3-convnext-small-pretrain-lvd1689m"
        ),
        "dinov3_convnext_base": _dinov3_convnext(
            [128, 256, 512, 1024],
            [3, 3, 27, 3],
            "facebook/dinov3-convnext-base-pretrain-lvd1689m",
        ),
        "siglip_b": Architecture("siglip", {}, "google/siglip-base-patch16-224"),
        "siglip_so400m": Architecture(
            "siglip",
            _transformer(1152, 27, 16, intermediate_size=4304, image_size=384, patch_size=14),
            "google/siglip-so400m-patch14-384",
        ),
        "siglip2_b": Architecture("siglip", {}, "google/siglip2-base-patch16-224"),
        "siglip2_naflex_b": Architecture(
            "siglip2_naflex", {}, "google/siglip2-base-patch16-naflex"
        ),
        "radio_b": Architecture("radio", _transformer(*_BASE), ""),
        "radio_l": Architecture("radio", _transformer(*_LARGE, summary_idxs=[0, 1, 2]), ""),
        "radio_h": Architecture("radio", {}, "nvidia/C-RADIOv4-H"),
    }
)
