"""Depth Anything v2 of `transformers`: its sizes, its weights and what it sees."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from experiments_il.blocks.pretrained import HUB, build_pretrained
from experiments_il.blocks.vision import import_transformers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MODELS", "DepthAnythingV2"]

_REPOSITORY = "depth-anything/Depth-Anything-V2-{}-hf"

MODELS: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = MappingProxyType(
    {
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
)
"""By name: the word of its repository, its transformer, and its head."""


class DepthAnythingV2(nn.Module):
    """The network, as far as it is used.

    Args:
        name: Key of `MODELS`.
        source: Weights; `hub` alone: the usual repository; None: random.
        strict: Refuse weights that lack a tensor.
        layers: Layers whose features are used, from 1; None: the four its own head reads.
        settings: Fields of the transformer's configuration that are other than the name says.
        with_head: Whether the depth is asked for.

    Raises:
        MissingPackageError: `transformers` is not installed.
        ValueError: There is no such layer, or the weights do not fit.
    """

    def __init__(
        self,
        name: str,
        source: str | None,
        *,
        strict: bool,
        layers: Sequence[int] | None,
        settings: dict[str, Any] | None,
        with_head: bool,
    ) -> None:
        super().__init__()
        size, backbone, head = MODELS[name]
        built = _build_config(backbone | (settings or {}), head, layers)
        model_class = import_transformers().DepthAnythingForDepthEstimation
        place = HUB + _REPOSITORY.format(size) if source == HUB.rstrip(":") else source
        model = build_pretrained(model_class, built, place, strict=strict)
        self.patch = int(built.backbone_config.patch_size)
        self.layers = tuple(built.backbone_config.out_indices)
        self.backbone = model.backbone
        self.backbone.encoder.layer = self.backbone.encoder.layer[: max(self.layers)]
        for module in self.backbone.modules():
            # They record for its own forward, and cannot be sent to another process.
            module._forward_hooks.clear()  # noqa: SLF001 - torch has no public way
        self.neck: Any = model.neck if with_head else None
        self.head: Any = model.head if with_head else None

    def look(self, pixels: Tensor) -> list[Tensor]:
        """Return the features `(N, cells, C)` of the chosen layers, normalised."""
        return [tokens[:, 1:] for tokens in self._hidden(pixels)]

    def measure(self, pixels: Tensor) -> Tensor:
        """Return the depth `(N, H, W)` of pixels."""
        rows, columns = (side // self.patch for side in pixels.shape[-2:])
        depth: Tensor = self.head(self.neck(self._hidden(pixels), rows, columns), rows, columns)
        return depth

    def _hidden(self, pixels: Tensor) -> list[Tensor]:
        """Return the tokens `(N, 1 + cells, C)` of the chosen layers, the class token first."""
        hidden, found = self.backbone.embeddings(pixels), {}
        for number, layer in enumerate(self.backbone.encoder.layer, start=1):
            hidden = layer(hidden)
            if number in self.layers:
                found[number] = self.backbone.layernorm(hidden)
        return [found[number] for number in self.layers]


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
