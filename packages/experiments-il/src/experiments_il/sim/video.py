"""Writes frames to an mp4 file that browsers play."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from trainer_core.errors import MissingPackageError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["require_encoder", "write_video"]

_ENCODERS = ("libx264", "h264", "mpeg4")


def write_video(path: Path, frames: Sequence[NDArray[np.uint8]], fps: int = 20) -> None:
    """Write an mp4 file; it appears under its name only when it is complete.

    Args:
        path: The file; its folder must exist.
        frames: Pictures uint8 `(height, width, 3)`, all of one size with even sides; at least one.
        fps: Pictures a second.

    Raises:
        MissingPackageError: PyAV is not installed.
        UserError: PyAV was built without any suitable encoder.
    """
    encoder = require_encoder()
    import av  # noqa: PLC0415 - optional package

    height, width = frames[0].shape[:2]
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with av.open(str(unfinished), "w", format="mp4") as container:
            stream = cast("av.VideoStream", container.add_stream(encoder, rate=fps))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def require_encoder() -> str:
    """Return the name of the encoder that `write_video` will use.

    Raises:
        MissingPackageError: PyAV is not installed.
        UserError: PyAV was built without any suitable encoder.
    """
    try:
        import av  # noqa: PLC0415 - optional package
    except ModuleNotFoundError as error:
        need = "writing a video"
        raise MissingPackageError(need, "experiments-il[video]") from error
    for name in _ENCODERS:
        try:
            av.Codec(name, "w")
        except ValueError:  # what PyAV's UnknownCodecError derives from
            continue
        return name
    message = f"PyAV has none of the encoders {', '.join(_ENCODERS)}: no video can be written"
    raise UserError(message)
