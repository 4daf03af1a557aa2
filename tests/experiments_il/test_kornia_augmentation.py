"""Kornia's augmentations: keyed per sample, alike in all frames, off in evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from experiments_il.blocks.kornia_augmentation import KorniaAugmentation
from trainer_core.random import KeyedRandom

AFFINE = {"name": "RandomAffine", "degrees": 20.0, "p": 1.0}
JIGGLE = {"name": "ColorJiggle", "brightness": 0.3, "contrast": 0.3, "hue": 0.1, "p": 0.5}


def keyed(count: int, start: int = 0, step: int = 5) -> KeyedRandom:
    return KeyedRandom(3, step, total=4, start=start, count=count)


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 1, 3, 12, 16), generator=generator, dtype=torch.uint8)
    return images.expand(-1, 2, -1, -1, -1)


def test_samples_are_changed_alike_in_any_part_of_the_batch(images: Tensor) -> None:
    augment = KorniaAugmentation([AFFINE, JIGGLE])
    whole = augment(images, keyed(4), "s")
    parts = [augment(images[at : at + 2], keyed(2, at), "s") for at in (0, 2)]
    assert whole.dtype == torch.uint8
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(whole[:, 0], whole[:, 1])
    assert torch.equal(augment(images[:, 0], keyed(4), "s"), whole[:, 0])


def test_steps_cameras_and_samples_differ(images: Tensor) -> None:
    augment = KorniaAugmentation([AFFINE])
    same = images[:1].expand(4, -1, -1, -1, -1)
    first = augment(same, keyed(4), "s")
    assert len({sample.numpy().tobytes() for sample in first}) == 4
    assert not torch.equal(augment(same, keyed(4, step=6), "s"), first)
    assert not torch.equal(augment(same, keyed(4), "other"), first)


def test_evaluation_and_the_global_generator_are_left_alone(images: Tensor) -> None:
    augment = KorniaAugmentation([AFFINE])
    before = torch.get_rng_state()
    augment(images, keyed(4), "s")
    assert torch.equal(torch.get_rng_state(), before)
    assert augment(images) is images


def test_wrong_transforms_and_images_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="no transform of images 'RandomAfine'; did you mean"):
        KorniaAugmentation([{"name": "RandomAfine"}])
    with pytest.raises(ValueError, match=r"kornia's RandomAffine: .*'angle'"):
        KorniaAugmentation([{"name": "RandomAffine", "degrees": 5.0, "angle": 1}])
    with pytest.raises(ValueError, match="kornia needs uint8 images with 3 channels, got"):
        KorniaAugmentation([AFFINE])(images.float(), keyed(4))
