"""Camera backbones of `transformers`, pretrained or not, as tokens for a policy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from experiments_il.blocks.camera_pixels import CameraPixels, Fit, sinusoidal_grid
from experiments_il.blocks.pretrained import HUB, build_pretrained
from experiments_il.blocks.vision_models import ARCHITECTURES, FAMILIES, Family
from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.errors import MissingPackageError

if TYPE_CHECKING:
    from policy_constructor.ranges import Positive

__all__ = ["BackboneName", "VisionBackbone", "import_transformers"]

BackboneName: TypeAlias = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "dinov2_s",
    "dinov2_b",
    "dinov2_l",
    "dinov2_reg_s",
    "dinov2_reg_b",
    "dinov2_reg_l",
    "dinov3_vits16",
    "dinov3_vitb16",
    "dinov3_vitl16",
    "dinov3_convnext_tiny",
    "dinov3_convnext_small",
    "dinov3_convnext_base",
    "siglip_b",
    "siglip_so400m",
    "siglip2_b",
    "siglip2_naflex_b",
    "radio_b",
    "radio_l",
    "radio_h",
]
"""The models that there are."""


class VisionBackbone(nn.Module):
    """A camera backbone of `transformers`: image history to tokens with positions.

    Features of the last layer become one token per cell, with two-dimensional sinusoidal positions;
    the summary (class token, pooled features) becomes one token. Both are projected to `width`, and
    every frame of the history has a learned embedding. What the model was trained on (mean, std,
    sides that are multiples of its patch) is done here: hand it the camera's bytes.

    Args:
        name: The model.
        width: Width D of a token, a multiple of 4.
        pretrained: Weights: a folder with `model.safetensors`, a `.safetensors` file, `hub` (the
            model's usual repository) or `hub:OWNER/NAME`, from the cache if they are there; null:
            random.
        strict: Refuse weights that lack a tensor of the model.
        settings: Fields of the model's configuration that are other than the name says, such as
            `{num_hidden_layers: 6}`.
        output: `features`, one token per cell; `summary`, one per frame; or `both`, the summary
            first.
        grid: Cells per side that the features are pooled to; null: all.
        trainable: False: the model itself gets no gradient and stays in eval mode. Projections and
            embeddings are trained all the same; `freeze` of the component stops those too.
        norm: Batch norm of a ResNet: `frozen` uses the statistics of the weights, `group` has
            group norm in its place. Both do not care how a batch is split. null: `frozen` with
            weights, else `group`.
        image_size: Height and width that images are resized to; null: as they come.
        fit: How sides become multiples of the patch: `resize` to the nearest, or `pad`.
        mean: Mean of the pixels in [0, 1]; null: that of the published weights.
        std: Their standard deviation; null: that of the published weights.
        n_obs_steps: Frames of the history.

    Raises:
        MissingPackageError: `transformers` is not installed.
        ValueError: There is no such model, or the weights cannot be read or do not fit.
    """

    def __init__(
        self,
        name: BackboneName = "dinov2_s",
        width: Positive = 256,
        pretrained: str | None = None,
        strict: bool = True,
        settings: dict[str, Any] | None = None,
        output: Literal["features", "summary", "both"] = "features",
        grid: Positive | None = None,
        trainable: bool = True,
        norm: Literal["frozen", "group"] | None = None,
        image_size: tuple[Positive, Positive] | None = None,
        fit: Fit = "resize",
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        n_obs_steps: Positive = 1,
    ) -> None:
        super().__init__()
        if name not in ARCHITECTURES:
            near = did_you_mean(nearest(name, ARCHITECTURES))
            message = f"there is no backbone '{name}'{near}; known: {', '.join(ARCHITECTURES)}"
            raise ValueError(message)
        if width % 4:
            message = f"width must be a multiple of 4 for positions in two dimensions, got {width}"
            raise ValueError(message)
        architecture = ARCHITECTURES[name]
        self._family = architecture.family
        self.n_obs_steps = n_obs_steps
        self.output = output
        self.trainable = trainable
        built = self._build_config(architecture.config, settings, output)
        transformers = import_transformers()
        model_class = getattr(transformers, self.family.model)
        source = _source(name, pretrained)
        model = build_pretrained(model_class, built, source, strict=strict)
        if hasattr(model, "make_preprocessor_external"):
            model.make_preprocessor_external()  # pixels come normalised
        if (norm or ("group" if pretrained is None else "frozen")) == "group":
            _use_group_norm(model)
        model.pretrained = pretrained is not None  # what `init` leaves alone
        self.model = model
        self.pixels = CameraPixels(
            mean or self.family.mean,
            std or self.family.std,
            self.family.multiple(built),
            image_size,
            fit,
        )
        self.pool = nn.Identity() if grid is None else nn.AdaptiveAvgPool2d(grid)
        channels, summary = _widths(built)
        self.project = nn.Linear(channels, width) if output != "summary" else None
        self.project_summary = nn.Linear(summary, width) if output != "features" else None
        self.frame = nn.Parameter(torch.randn(n_obs_steps, 1, width) * 0.02)
        self._leave_out_of_training()
        self.train()

    def forward(self, image: Tensor) -> Tensor:
        """Return tokens `(B, n_obs_steps * tokens of a frame, width)`, oldest frame first.

        Args:
            image: `(B, n_obs_steps, 3, height, width)`, or without the frame axis for one frame.
                uint8 in 0..255, or floating point that is normalised already.

        Raises:
            ValueError: The history has another length than the block was built for, or the images
                have no three channels.
        """
        frames = image if image.ndim == 5 else image.unsqueeze(1)
        if frames.ndim != 5 or frames.shape[1] != self.n_obs_steps or frames.shape[2] != 3:
            message = (
                f"image has shape {tuple(image.shape)}, expected {self.n_obs_steps} frame(s) on "
                "axis 1, as n_obs_steps of the camera backbone says, and 3 channels after them"
            )
            raise ValueError(message)
        features, summary = self.look(frames.flatten(0, 1))
        tokens = self._tokens(features, summary)
        by_frame = tokens.reshape(-1, self.n_obs_steps, *tokens.shape[1:]) + self.frame
        return by_frame.flatten(1, 2)

    @property
    def family(self) -> Family:
        """What models of this class take and return."""
        return FAMILIES[self._family]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the model's features `(N, h, w, C)` and summary `(N, S)` of images.

        Args:
            images: `(N, 3, height, width)`, as `forward` takes frames.
        """
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            return self.family.run(self.model, self.pixels(images))

    def train(self, mode: bool = True) -> VisionBackbone:
        """Set the mode; a model that is not trained, and frozen batch norm, stay in eval mode."""
        super().train(mode)
        if not self.trainable:
            self.model.eval()
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def _build_config(self, sizes: Any, changes: dict[str, Any] | None, output: str) -> Any:
        """Return the configuration of the model."""
        config_class = getattr(import_transformers(), self.family.config)
        settings = dict(sizes) | dict(self.family.adjust)
        if self.family.model.startswith("Siglip"):
            settings["vision_use_head"] = output != "features"
        known = config_class()
        for key in changes or {}:
            if not hasattr(known, key):
                near = did_you_mean(nearest(key, [*known.to_dict()]))
                message = f"settings: {self.family.config} has no field '{key}'{near}"
                raise ValueError(message)
        return config_class(**(settings | (changes or {})))

    def _tokens(self, features: Tensor, summary: Tensor) -> Tensor:
        """Return the tokens of frames, `(N, tokens, width)`."""
        parts = []
        if self.project_summary is not None:
            parts.append(self.project_summary(summary)[:, None])
        if self.project is not None:
            pooled = self.pool(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            cells = self.project(pooled)
            rows, columns, width = cells.shape[1:]
            positions = sinusoidal_grid(rows, columns, width, cells)
            parts.append((cells + positions).flatten(1, 2))
        return torch.cat(parts, dim=1)

    def _leave_out_of_training(self) -> None:
        """Ask for no gradient where none can come."""
        for key, parameter in self.model.named_parameters():
            if not self.trainable or key.endswith("mask_token"):
                parameter.requires_grad_(requires_grad=False)


def import_transformers() -> Any:
    """Return the package `transformers`.

    Raises:
        MissingPackageError: It is not installed.
    """
    _remember_constructors()
    try:
        return importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        need = "a backbone of transformers"
        raise MissingPackageError(need, "experiments-il[vision]") from error


def _remember_constructors() -> None:
    """Let torch find the functions that `with torch.device(...)` concerns, once and for all.

    It looks them up in the first such block and keeps them. `from_pretrained` exchanges
    `torch.linspace` while it has one open: were that the first, the real one would make tensors on
    the CPU in all later blocks.
    """
    with torch.device("cpu"):
        torch.empty(0)


def _source(name: str, pretrained: str | None) -> str | None:
    """Return where weights are, with the repository's name for a bare `hub`."""
    if pretrained != HUB.rstrip(":"):
        return pretrained
    repository = ARCHITECTURES[name].repository
    if not repository:
        message = f"'{name}' has no usual repository: write pretrained: hub:OWNER/NAME"
        raise ValueError(message)
    return HUB + repository


def _widths(config: Any) -> tuple[int, int]:
    """Return the channels of features and of the summary."""
    sizes = getattr(config, "hidden_sizes", None)
    channels = sizes[-1] if sizes else config.hidden_size
    return channels, channels * len(getattr(config, "summary_idxs", None) or [0])


def _use_group_norm(model: nn.Module) -> None:
    """Put group norm, with the same weight and bias, in the place of batch norm."""
    for module in list(model.modules()):
        for key, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                group = nn.GroupNorm(_groups(child.num_features), child.num_features)
                group.weight, group.bias = child.weight, child.bias
                setattr(module, key, group)


def _groups(channels: int) -> int:
    """Return how many groups of 16 channels there are, or of all where that does not go up."""
    return channels // 16 if channels % 16 == 0 else 1
