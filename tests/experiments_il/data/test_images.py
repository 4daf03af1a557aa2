from __future__ import annotations

import numpy as np
import pytest

from experiments_il.data.images import decode_image, encode_png
from trainer_core.errors import DatasetError


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_round_trip_is_lossless(channels: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    decoded = decode_image(encode_png(frame), (channels, 5, 7), "here")
    np.testing.assert_array_equal(decoded, frame.transpose(2, 0, 1))


def test_image_of_another_size_is_refused() -> None:
    blob = encode_png(np.zeros((5, 7, 3), np.uint8))
    with pytest.raises(DatasetError) as caught:
        decode_image(blob, (3, 5, 8), "here")
    assert str(caught.value) == "here: the image is 5x7 (height x width), not 5x8"
