"""PNG and other encoded images as uint8 frames, channels first."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.optional_packages import import_optional
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decode_image", "decoder_id", "encode_png", "image_size", "import_pillow"]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# What recordings hold. Pillow knows more, and hands some of it (PostScript) to other programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


def decode_image(
    blob: bytes,
    shape: tuple[int, int, int],
    where: str,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return an encoded image as uint8 `(channels, height, width)`.

    Args:
        blob: The bytes of a PNG, JPEG, WebP, BMP or TIFF.
        shape: The declared `(channels, height, width)`.
        where: Camera, episode and frame, for messages.
        out: Receives and is returned as the image; None: a new array.

    Raises:
        DatasetError: The bytes are no image, or one of another size.
    """
    image_module = import_pillow()
    channels, height, width = shape
    mode = _MODES.get(channels, "RGB")
    if len(mode) != channels:
        message = f"{where}: the image has {len(mode)} channels, not {channels}"
        raise DatasetError(message)
    frame = np.empty(shape, np.uint8) if out is None else out
    try:
        with image_module.open(io.BytesIO(blob), formats=_FORMATS) as image:
            if image.size != (width, height):
                found = f"{image.size[1]}x{image.size[0]}"
                message = f"{where}: the image is {found} (height x width), not {height}x{width}"
                raise DatasetError(message)
            pixels = image if image.mode == mode else image.convert(mode)
            for channel, band in enumerate(mode):  # cheaper than to reorder packed pixels
                plane = np.frombuffer(pixels.tobytes("raw", band), np.uint8)
                frame[channel] = plane.reshape(height, width)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as exc:
        message = f"{where}: the image cannot be decoded: {exc}"
        raise DatasetError(message) from exc
    return frame


def image_size(blob: bytes, where: str) -> tuple[int, int]:
    """Return height and width of an encoded image from its header.

    Raises:
        DatasetError: The bytes are no image.
    """
    image_module = import_pillow()
    try:
        with image_module.open(io.BytesIO(blob), formats=_FORMATS) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as exc:
        message = f"{where}: the image cannot be decoded: {exc}"
        raise DatasetError(message) from exc
    return height, width


def encode_png(frame_hwc: NDArray[np.uint8]) -> bytes:
    """Return uint8 `(height, width, channels)` as a PNG; lossless."""
    pixels = frame_hwc[..., 0] if frame_hwc.shape[-1] == 1 else frame_hwc
    stream = io.BytesIO()
    import_pillow().fromarray(np.ascontiguousarray(pixels)).save(
        stream, format="PNG", compress_level=4
    )
    return stream.getvalue()


def decoder_id() -> str:
    """Return name and version of what decodes images."""
    return f"pillow {import_pillow().__version__}"


def import_pillow() -> Any:
    """Return Pillow's `Image` module, or raise `MissingPackageError`."""
    return import_optional("PIL.Image", "reading images from LeRobot data sets", "lerobot")
