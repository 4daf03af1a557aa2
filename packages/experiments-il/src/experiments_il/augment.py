"""Augmentation of camera images on their device, a function of (seed, step, sample).

Shapes: B batch, T history, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.ranges import Fraction, Positive
    from trainer_core.protocols import StepContext
    from trainer_core.random import KeyedRandom

__all__ = [
    "Augmentation",
    "CameraAugmentation",
    "ColorJitter",
    "RandomCrop",
    "RandomShift",
    "require_bytes",
]


class Augmentation(Protocol):
    """Changes images at random while training; the same way in all frames of a sample."""

    def __call__(
        self, images: Tensor, random: KeyedRandom | None = None, stream: str = ""
    ) -> Tensor:
        """Return the changed images `(B, [T,] C, H, W)`.

        Args:
            images: `(B, [T,] C, H, W)`.
            random: The step's random numbers; None: not training, nothing may be random.
            stream: Keeps cameras and several augmentations of one camera independent.
        """
        ...


class CameraAugmentation:
    """Applies a trainer's augmentations to its cameras, each camera with draws of its own.

    Args:
        cameras: Observation keys of the cameras.
        augment: One augmentation or several in order for all cameras, or a mapping of cameras to
            theirs; None: images stay as they are.

    Raises:
        UserError: There is no camera, or the mapping names another key, or something in it does
            not augment.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        augment: Augmentation | Sequence[Augmentation] | Mapping[str, Any] | None = None,
    ) -> None:
        chosen: Mapping[str, Any] = {}
        if isinstance(augment, Mapping):
            chosen = augment
        elif augment is not None:
            chosen = dict.fromkeys(cameras, augment)
            if not cameras:
                message = "augment needs trainer.cameras: there are no images to change"
                raise UserError(message)
        unknown = [key for key in chosen if key not in cameras]
        if unknown:
            names = ", ".join(cameras)
            message = f"augment names '{unknown[0]}', which is no camera; the cameras are: {names}"
            raise UserError(message)
        self._steps = {key: _as_list(key, chosen[key]) for key in cameras if key in chosen}

    def __call__(
        self, observation: Mapping[str, Tensor], step: StepContext | None
    ) -> Mapping[str, Tensor]:
        """Return the observation with its images changed; the given one stays as it is.

        Args:
            observation: Key to a batch of values; cameras `(B, [T,] C, H, W)`.
            step: The step that trains on them; None, or one that validates: nothing is random.

        Raises:
            ValueError: The images do not suit an augmentation.
        """
        if not self._steps:
            return observation
        random = step.random if step is not None and step.training else None
        changed = dict(observation)
        for key, augmentations in self._steps.items():
            for number, augmentation in enumerate(augmentations):
                stream = f"augment.{key}.{number}"
                changed[key] = augmentation(changed[key], random, stream)
        return changed


class RandomShift(nn.Module):
    """Moves an image by up to `padding` pixels either way; its edge pixels fill what is left over.

    The one augmentation that image policies gain most from. Shifts are whole pixels, drawn per
    sample for both axes; evaluation sees the images as they are.

    Args:
        padding: Largest shift in pixels. 4 suits 84 to 96 pixels, about 5 % of other sizes.

    Source: Kostrikov et al., "DrQ", arXiv:2004.13649: pad with the edge, crop to the old size.
    """

    def __init__(self, padding: Positive = 4) -> None:
        super().__init__()
        self.padding = padding

    def forward(
        self, images: Tensor, random: KeyedRandom | None = None, stream: str = ""
    ) -> Tensor:
        """Return the shifted images, shape and dtype as given.

        Args:
            images: `(B, [T,] C, H, W)` of any dtype.
            random: The step's random numbers; None: `images` is returned.
            stream: Name of the draw.
        """
        if random is None:
            return images
        height, width = images.shape[-2:]
        shift = random.integers(2 * self.padding + 1, 2, stream=stream) - self.padding
        rows = shift[:, :1] + torch.arange(height, device=images.device)
        columns = shift[:, 1:] + torch.arange(width, device=images.device)
        return _select(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))


class RandomCrop(nn.Module):
    """Cuts a window out of an image: anywhere while training, the middle otherwise.

    Args:
        size: Height and width of the window in pixels; 90 % of the image is usual.

    Source: as in Chi et al., "Diffusion Policy", arXiv:2303.04137: the crop of evaluation is fixed.
    """

    def __init__(self, size: tuple[Positive, Positive]) -> None:
        super().__init__()
        self.height, self.width = size

    def forward(
        self, images: Tensor, random: KeyedRandom | None = None, stream: str = ""
    ) -> Tensor:
        """Return the windows `(B, [T,] C, *size)`, dtype as given.

        Args:
            images: `(B, [T,] C, H, W)` of any dtype.
            random: The step's random numbers; None: the middle is cut out.
            stream: Name of the draw.

        Raises:
            ValueError: The images are smaller than the window.
        """
        down, right = images.shape[-2] - self.height, images.shape[-1] - self.width
        if down < 0 or right < 0:
            message = (
                f"random_crop cuts {self.height}x{self.width} pixels out of an image, and the "
                f"images have {images.shape[-2]}x{images.shape[-1]}"
            )
            raise ValueError(message)
        if random is None:
            top, left = down // 2, right // 2
            return images[..., top : top + self.height, left : left + self.width]
        top_b = random.integers(down + 1, 1, stream=f"{stream}.top")
        left_b = random.integers(right + 1, 1, stream=f"{stream}.left")
        rows = top_b + torch.arange(self.height, device=images.device)
        columns = left_b + torch.arange(self.width, device=images.device)
        return _select(images, rows, columns)


class ColorJitter(nn.Module):
    """Scales brightness, then contrast about the mean grey of a frame, by factors near 1.

    Factors are drawn per sample, uniform in `[1 - x, 1 + x]`; evaluation sees the images as they
    are.

    Args:
        brightness: Largest change of the brightness; 0.1 to 0.3 is usual.
        contrast: Largest change of the contrast; 0.1 to 0.3 is usual.
    """

    def __init__(self, brightness: Fraction = 0.2, contrast: Fraction = 0.2) -> None:
        super().__init__()
        self.brightness = brightness
        self.contrast = contrast

    def forward(
        self, images: Tensor, random: KeyedRandom | None = None, stream: str = ""
    ) -> Tensor:
        """Return the changed images, uint8.

        Args:
            images: uint8 `(B, [T,] 3, H, W)`.
            random: The step's random numbers; None: `images` is returned.
            stream: Name of the draw.

        Raises:
            ValueError: The images are not uint8, or have no three channels.
        """
        if random is None:
            return images
        require_bytes(images, "color_jitter")
        brightness = random.uniform(low=-1.0, stream=f"{stream}.brightness") * self.brightness + 1
        contrast = random.uniform(low=-1.0, stream=f"{stream}.contrast") * self.contrast + 1
        per_sample = (-1, *[1] * (images.ndim - 1))
        pixels = (images * brightness.view(per_sample)).clamp_(0, 255)
        red, green, blue = pixels.unbind(-3)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        mean = grey.mean((-2, -1))[..., None, None, None]
        return mean.lerp(pixels, contrast.view(per_sample)).clamp_(0, 255).round_().to(torch.uint8)


def require_bytes(images: Tensor, name: str) -> None:
    """Check that images are uint8 RGB.

    Raises:
        ValueError: They are not; the message says what `name` needs.
    """
    if images.dtype != torch.uint8 or images.shape[-3] != 3:
        message = (
            f"{name} needs uint8 images with 3 channels, got {images.dtype} "
            f"{tuple(images.shape)}: leave the camera out of data.normalize, backbones scale bytes"
        )
        raise ValueError(message)


def _select(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return chosen pixels of each sample, `(B, [T,] C, h, w)`.

    Args:
        images: `(B, [T,] C, H, W)`.
        rows: int64 `(B, h)`, below H.
        columns: int64 `(B, w)`, below W.
    """
    width = images.shape[-1]
    pixels = images.flatten(1, -3).flatten(2)
    chosen = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    picked = pixels.gather(2, chosen[:, None].expand(-1, pixels.shape[1], -1))
    return picked.view(*images.shape[:-2], rows.shape[1], columns.shape[1])


def _as_list(key: str, given: Any) -> list[Augmentation]:
    augmentations = list(given) if isinstance(given, list | tuple) else [given]
    for each in augmentations:
        if not callable(each):
            message = (
                f"augment of '{key}' needs components such as {{_type_: random_shift}}, got "
                f"{each!r}"
            )
            raise UserError(message)
    return augmentations
