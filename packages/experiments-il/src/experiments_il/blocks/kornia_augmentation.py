"""Augmentations of Kornia, with their randomness keyed by (seed, step, sample)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from experiments_il.augment import require_bytes
from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.errors import MissingPackageError
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer_core.random import KeyedRandom

__all__ = ["KorniaAugmentation"]


class KorniaAugmentation(nn.Module):
    """Applies augmentations of Kornia to each sample with a seed of its own.

    All frames of a sample are changed alike, and a sample's change does not depend on who shares
    its batch; evaluation sees the images as they are. The price is a call per sample and camera:
    what `random_shift`, `random_crop` and `color_jitter` do, they do for a batch at once.

    Args:
        transforms: In order, each the name of a class of `kornia.augmentation` and its arguments:
            `{name: RandomAffine, degrees: 5.0, p: 0.5}`.

    Raises:
        MissingPackageError: Kornia is not installed.
        ValueError: There is no such class, or it refuses its arguments.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        try:
            from kornia import augmentation as library  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            need = "the augmentation 'kornia'"
            raise MissingPackageError(need, "experiments-il[augment]") from error
        built = [_build(library, dict(each)) for each in transforms]
        self.sequence = library.VideoSequential(*built, data_format="BTCHW", same_on_frame=True)

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
        require_bytes(images, "kornia")
        frames = images if images.ndim == 5 else images.unsqueeze(1)
        changed = []
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            for number, sample in enumerate(frames, start=random.start):
                torch.manual_seed(derive_seed(random.seed, random.step, stream, number))
                changed.append(self.sequence(sample[None].float() / 255.0))
        pixels = torch.cat(changed).mul_(255.0).clamp_(0, 255).round_().to(torch.uint8)
        return pixels if images.ndim == 5 else pixels.squeeze(1)


def _build(library: Any, spec: dict[str, Any]) -> nn.Module:
    """Return one augmentation."""
    known = [
        name
        for name, value in vars(library).items()
        if inspect.isclass(value) and issubclass(value, library.AugmentationBase2D)
    ]
    name = spec.pop("name", None)
    if name not in known:
        near = did_you_mean(nearest(str(name), known))
        message = f"kornia.augmentation has no transform of images '{name}'{near}"
        raise ValueError(message)
    try:
        built: nn.Module = getattr(library, name)(**spec)
    except Exception as error:  # of several kinds
        message = f"kornia's {name}: {error}"
        raise ValueError(message) from error
    return built
