"""Depth Anything 3 of its own package: found, built, given weights, and asked.

The package lies on GitHub alone and is imported when a model is built. Of it the sizes
(`configs/da3-*.yaml`), the transformer and the depth head are used; its class `DepthAnything3` is
not, which computes in inference mode, half precision and with the views of a batch as one scene.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import warnings
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from experiments_il.blocks.pretrained import HUB, load_pretrained
from trainer_core.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MODELS", "DepthAnything3", "Size"]

_PACKAGE = "depth_anything_3"
_INSTALL = "git+https://github.com/ByteDance-Seed/Depth-Anything-3"
_KNOWN_COMMIT = "2c21ea849ceec7b469a3e62ea0c0e270afc3281a"
_IN_FILES = "model."  # before each key of published weights: they are those of `DepthAnything3`


@dataclass(frozen=True, slots=True)
class Size:
    """A model by name.

    Attributes:
        preset: Its name in the package.
        layers: How many layers its transformer has.
        repository: Where its weights are published on the Hugging Face hub.
    """

    preset: str
    layers: int
    repository: str


MODELS: Mapping[str, Size] = MappingProxyType(
    {
        "depth_anything_3_s": Size("da3-small", 12, "depth-anything/DA3-SMALL"),
        "depth_anything_3_b": Size("da3-base", 12, "depth-anything/DA3-BASE"),
        "depth_anything_3_l": Size("da3-large", 24, "depth-anything/DA3-LARGE-1.1"),
        "depth_anything_3_mono_l": Size("da3mono-large", 24, "depth-anything/DA3MONO-LARGE"),
    }
)


class DepthAnything3(nn.Module):
    """The network of the package `depth_anything_3`, as far as it is used; each image is a scene.

    Args:
        name: Key of `MODELS`.
        source: Weights; `hub` alone: the usual repository; None: random.
        strict: Refuse weights that lack a tensor.
        layers: Layers whose features are used, from 1; None: the four its own head reads.
        settings: None; sizes are those of the package.
        with_head: Whether the depth is asked for.

    Raises:
        MissingPackageError: The package, or one that it needs, is not installed.
        ValueError: There is no such layer, the weights do not fit, or the package is of a version
            that has other modules or answers otherwise.

    Source: Lin et al., arXiv:2511.10647.
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
        size = MODELS[name]
        _check(name, layers, settings)
        with _package_of(name), torch.device("cpu"):  # on the meta device it cannot be built
            self.backbone, self.head, read = _build(size.preset, layers, with_head=with_head)
            self.layers = tuple(layer + 1 for layer in read)
            self.patch = int(self.backbone.pretrained.patch_size)
            self.width = int(self.backbone.pretrained.embed_dim)
            self.eval()
            self._try_out()
        self.to(torch.get_default_device())
        place = HUB + size.repository if source == HUB.rstrip(":") else source
        load_pretrained(self, place, name=name, prefix=_IN_FILES, strict=strict)

    def look(self, pixels: Tensor) -> list[Tensor]:
        """Return the features `(N, cells, C)` of the chosen layers, normalised."""
        if pixels.is_meta:  # rotary positions are counted with numbers
            cells = (pixels.shape[-2] // self.patch) * (pixels.shape[-1] // self.patch)
            return [pixels.new_empty(len(pixels), cells, self.width) for _ in self.layers]
        exported = [layer - 1 for layer in self.layers]
        _, features = self._scenes(pixels, export_feat_layers=exported)
        return [tokens[:, 0] for tokens in features]

    def measure(self, pixels: Tensor) -> Tensor:
        """Return the depth `(N, H, W)` of pixels."""
        height, width = pixels.shape[-2:]
        if pixels.is_meta:
            return pixels.new_empty(len(pixels), height, width)
        tokens, _ = self._scenes(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            depth: Tensor = self.head(tokens, height, width, patch_start_idx=0)["depth"]
        return depth[:, 0]

    def _scenes(self, pixels: Tensor, **options: Any) -> Any:
        """Run the transformer, with each image as the only view of its scene."""
        transformer: Any = self.backbone.pretrained
        # They keep tensors of the device, and of the kind, that they were first asked on.
        for holder, cache in (("position_getter", "position_cache"), ("rope", "frequency_cache")):
            getattr(getattr(transformer, holder, None), cache, {}).clear()
        return self.backbone(pixels[:, None], **options)

    @torch.no_grad()
    def _try_out(self) -> None:
        """Ask once and compare the shapes, so that another version is told of at once."""
        pixels = torch.zeros(1, 3, 2 * self.patch, 3 * self.patch)
        features: list[tuple[int, ...]] = [(1, 6, self.width)] * len(self.layers)
        expected = features if self.head is None else [(1, 2 * self.patch, 3 * self.patch)]
        answers = self.look(pixels) if self.head is None else [self.measure(pixels)]
        found = [tuple(each.shape) for each in answers]
        if found != expected:
            message = f"its answer has the shapes {found}, not {expected}"
            raise ValueError(message)


def _check(name: str, layers: Sequence[int] | None, settings: dict[str, Any] | None) -> None:
    total = MODELS[name].layers
    wrong = [layer for layer in layers or () if not 1 <= layer <= total]
    if wrong:
        message = f"there is no layer {wrong[0]}; the model has 1 to {total}"
        raise ValueError(message)
    if settings:
        message = f"settings are fields of transformers; '{name}' has the sizes of its package"
        raise ValueError(message)


def _build(
    preset: str, layers: Sequence[int] | None, *, with_head: bool
) -> tuple[Any, Any, list[int]]:
    """Return transformer, head, and the layers, from 0, that are read; no others are kept."""
    files: Any = importlib.import_module(f"{_PACKAGE}.registry").MODEL_REGISTRY
    package: Any = importlib.import_module(f"{_PACKAGE}.cfg")
    config = package.load_config(files[preset])
    read = list(config.net.out_layers)
    if not with_head:
        read = read if layers is None else sorted({layer - 1 for layer in layers})
        config.net.out_layers = read[-1:]
    backbone = package.create_object(config.net)
    backbone.pretrained.blocks = backbone.pretrained.blocks[: read[-1] + 1]
    return backbone, package.create_object(config.head) if with_head else None, read


@contextlib.contextmanager
def _package_of(name: str) -> Iterator[None]:
    """Keep the package from our output, and say in words why it cannot be used."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing != _PACKAGE:
            need = f"the package {_PACKAGE}"
            raise MissingPackageError(need, missing) from error
        if importlib.util.find_spec(_PACKAGE) is None:
            need = f"the depth model '{name}'"
            raise MissingPackageError(need, _INSTALL) from error
        raise ValueError(_describe(name, error)) from error
    except Exception as error:  # whatever a stranger's code raises
        raise ValueError(_describe(name, error)) from error


def _describe(name: str, error: Exception) -> str:
    """Return what is wrong with the package that is there, and which one is known to be right."""
    spec = importlib.util.find_spec(_PACKAGE)
    places = (spec.submodule_search_locations if spec else None) or ["no folder"]
    return (
        f"'{name}' cannot be built with the {_PACKAGE} in {', '.join(places)}, "
        f"perhaps of another version: {type(error).__name__}: {error}\n"
        f"one that works: pip install '{_INSTALL}@{_KNOWN_COMMIT}'"
    )
