"""Augmentation: a function of (seed, step, sample), off outside of training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from experiments_il.augment import CameraAugmentation, ColorJitter, RandomCrop, RandomShift
from trainer_core.errors import UserError
from trainer_core.protocols import StepContext
from trainer_core.random import KeyedRandom

HEAD, WRIST = "observation.images.head", "observation.images.wrist"
EVERY = [RandomShift(3), RandomCrop((12, 10)), ColorJitter(0.3, 0.3)]


def keyed(count: int, start: int = 0, total: int = 8, step: int = 5) -> KeyedRandom:
    return KeyedRandom(3, step, total=total, start=start, count=count)


def context(random: KeyedRandom, *, training: bool = True) -> StepContext:
    return StepContext(random.step, 10, 0, random, training)


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (8, 2, 3, 16, 14), generator=generator, dtype=torch.uint8)


def test_shift_equals_padding_with_the_edge_and_cropping(images: Tensor) -> None:
    shifted = RandomShift(3)(images, keyed(8), "s")
    padded = torch.nn.functional.pad(images.flatten(1, 2).float(), (3,) * 4, mode="replicate")
    corners = keyed(8).integers(7, 2, stream="s").tolist()
    for sample, (top, left) in enumerate(corners):
        expected = padded[sample, :, top : top + 16, left : left + 14]
        assert torch.equal(shifted[sample].flatten(0, 1).float(), expected)
    assert len(set(map(tuple, corners))) > 4


def test_crop_cuts_windows_anywhere_and_the_middle_in_evaluation(images: Tensor) -> None:
    crop = RandomCrop((12, 10))
    cut = crop(images, keyed(8), "s")
    windows = images.unfold(-2, 12, 1).unfold(-2, 10, 1)  # (B, T, C, 5, 5, 12, 10)
    found = [
        (windows[sample] == cut[sample][:, :, None, None]).all(-1).all(-1).all(0).all(0).nonzero()
        for sample in range(8)
    ]
    assert all(len(places) == 1 for places in found)
    assert len({tuple(places[0].tolist()) for places in found}) > 4
    assert torch.equal(crop(images), images[..., 2:14, 2:12])


def test_jitter_scales_brightness_then_contrast(images: Tensor) -> None:
    jittered = ColorJitter(0.3, 0.2)(images, keyed(8), "s")
    bright = keyed(8).uniform(low=-1.0, stream="s.brightness") * 0.3 + 1
    contrast = keyed(8).uniform(low=-1.0, stream="s.contrast") * 0.2 + 1
    pixels = (images.double() * bright.double().view(8, 1, 1, 1, 1)).clamp(0, 255)
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)
    mean = (pixels * weights).sum(2, keepdim=True).mean((-1, -2), keepdim=True)
    expected = mean + (pixels - mean) * contrast.double().view(8, 1, 1, 1, 1)
    assert jittered.dtype == torch.uint8
    assert (jittered.double() - expected.clamp(0, 255)).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize("augmentation", EVERY, ids=lambda each: type(each).__name__)
def test_parts_of_a_batch_are_changed_as_the_whole(
    augmentation: RandomShift | RandomCrop | ColorJitter, images: Tensor
) -> None:
    whole = augmentation(images, keyed(8), "s")
    ranks = [augmentation(images[part : part + 4], keyed(4, part), "s") for part in (0, 4)]
    cut = [
        augmentation(images[at : at + 2], keyed(8).slice(at, at + 2), "s") for at in (0, 2, 4, 6)
    ]
    assert torch.equal(torch.cat(ranks), whole)
    assert torch.equal(torch.cat(cut), whole)
    assert not torch.equal(augmentation(images, keyed(8, step=6), "s"), whole)


@pytest.mark.parametrize("augmentation", EVERY, ids=lambda each: type(each).__name__)
def test_all_frames_of_a_sample_are_changed_alike(
    augmentation: RandomShift | RandomCrop | ColorJitter, images: Tensor
) -> None:
    repeated = images[:, :1].expand(-1, 2, -1, -1, -1)
    first, second = augmentation(repeated, keyed(8), "s").unbind(1)
    assert torch.equal(first, second)
    assert torch.equal(augmentation(images[:, 0], keyed(8), "s"), first)


def test_cameras_and_repeated_augmentations_draw_for_themselves(images: Tensor) -> None:
    augment = CameraAugmentation((HEAD, WRIST), [RandomShift(3)])
    changed = augment({HEAD: images, WRIST: images}, context(keyed(8)))
    assert not torch.equal(changed[HEAD], changed[WRIST])
    twice = CameraAugmentation((HEAD,), [RandomShift(3), RandomShift(3)])
    again = RandomShift(3)(changed[HEAD], keyed(8), f"augment.{HEAD}.1")
    assert torch.equal(twice({HEAD: images}, context(keyed(8)))[HEAD], again)


def test_mapping_augments_only_the_cameras_it_names(images: Tensor) -> None:
    augment = CameraAugmentation((HEAD, WRIST), {WRIST: RandomShift(3)})
    given = {HEAD: images, WRIST: images}
    changed = augment(given, context(keyed(8)))
    assert changed[HEAD] is images
    assert not torch.equal(changed[WRIST], images)
    assert given[WRIST] is images


@pytest.mark.parametrize("step", [None, context(keyed(8), training=False)], ids=["act", "validate"])
def test_nothing_is_random_outside_of_training(step: StepContext | None, images: Tensor) -> None:
    augment = CameraAugmentation((HEAD,), [ColorJitter(), RandomShift(), RandomCrop((16, 10))])
    assert torch.equal(augment({HEAD: images}, step)[HEAD], images[..., 2:12])


def test_refusals_name_what_is_wrong(images: Tensor) -> None:
    with pytest.raises(UserError, match=r"augment needs trainer\.cameras: there are no images"):
        CameraAugmentation((), RandomShift())
    with pytest.raises(UserError, match="augment names 'top', which is no camera; the cameras are"):
        CameraAugmentation((HEAD,), {"top": RandomShift()})
    with pytest.raises(UserError, match=r"needs components such as \{_type_: random_shift\}, got"):
        CameraAugmentation((HEAD,), {HEAD: "random_shift"})
    with pytest.raises(ValueError, match="cuts 20x10 pixels out of an image, and the images have"):
        RandomCrop((20, 10))(images)
    with pytest.raises(ValueError, match="color_jitter needs uint8 images with 3 channels, got"):
        ColorJitter()(images.float(), keyed(8))
