"""Pixels as OpenCV resizes them: equal but for a last level here and there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from experiments_il.blocks.opencv_pixels import OpenCVPixels

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@pytest.fixture
def image() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 3, 96, 120), generator=generator, dtype=torch.uint8)


def resize_with_opencv(image: Tensor, size: tuple[int, int], interpolation: int) -> Tensor:
    array = image[0].permute(1, 2, 0).numpy()
    resized = cv2.resize(array, size[::-1], interpolation=interpolation)
    return torch.from_numpy(np.asarray(resized)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("size", "interpolation"),
    [
        ((70, 98), cv2.INTER_AREA),
        ((42, 120), cv2.INTER_AREA),
        ((48, 60), cv2.INTER_AREA),
        ((168, 210), cv2.INTER_CUBIC),
        ((98, 112), cv2.INTER_CUBIC),
    ],
)
def test_sizes_are_those_of_opencv(
    image: Tensor, size: tuple[int, int], interpolation: int
) -> None:
    found = OpenCVPixels(ZERO, ONE, 1, size)(image) * 255.0
    expected = resize_with_opencv(image, size, interpolation)
    differences = (found - expected).abs().round()
    assert differences.max() <= 1.0
    assert differences.mean() < 0.002


def test_sides_become_multiples_from_the_wanted_size_on(image: Tensor) -> None:
    found = OpenCVPixels(ZERO, ONE, 14, (75, 94))(image) * 255.0
    between = resize_with_opencv(image, (75, 94), cv2.INTER_AREA)
    expected = resize_with_opencv(between, (70, 98), cv2.INTER_CUBIC)
    assert found.shape == (1, 3, 70, 98)
    assert (found - expected).abs().round().mean() < 0.005


def test_images_of_the_right_size_are_only_normalised(image: Tensor) -> None:
    pixels = OpenCVPixels((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 12)(image)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    assert torch.equal(pixels, (image / 255.0 - mean) / std)


def test_normalised_images_are_resized_without_rounding(image: Tensor) -> None:
    given = (image / 255.0).expand(2, -1, -1, -1)
    pixels = OpenCVPixels(ZERO, ONE, 14, fit="pad")(given)
    assert pixels.shape == (2, 3, 98, 126)
    assert torch.equal(pixels[:, :, :96, :120], given)
    halves = OpenCVPixels(ZERO, ONE, 1, (48, 60))(given)
    torch.testing.assert_close(halves, torch.nn.functional.avg_pool2d(given, 2))


def test_shapes_are_told_without_numbers(image: Tensor) -> None:
    assert OpenCVPixels(ZERO, ONE, 14).to("meta")(image.to("meta")).shape == (1, 3, 98, 126)
