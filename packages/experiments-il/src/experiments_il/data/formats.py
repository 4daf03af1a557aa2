"""Data sets of any format, known by what lies in the folder or file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from experiments_il.data.lerobot_format import INFO_PATH
from experiments_il.data.near_paths import missing_data_hint
from experiments_il.data.zarr_layout import ENDS
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from experiments_il.data.source import FrameSource

__all__ = ["detect_format", "open_any"]


def detect_format(path: Path) -> str:
    """Return `lerobot`, `robomimic`, `aloha` or `zarr`.

    Raises:
        DatasetError: There is nothing, or nothing known.
    """
    if path.is_file():
        if path.suffix in {".hdf5", ".h5"}:
            return "robomimic"
        if path.suffix == ".zip":
            return "zarr"
    elif (path / ENDS).is_dir():
        return "zarr"
    elif (path / INFO_PATH).parent.is_dir():
        return "lerobot"
    elif any(path.glob("*.hdf5")) or any(path.glob("*.h5")):
        return "aloha"
    if not path.exists():
        message = f"{path}: no such folder or file{missing_data_hint(path)}"
        raise DatasetError(message)
    message = (
        f"{path}: is no data set of a known format; expected a LeRobotDataset (meta/info.json), a "
        "robomimic file (.hdf5), a folder of episodes (episode_0.hdf5, ...) or a zarr store "
        "(meta/episode_ends)"
    )
    raise DatasetError(message)


def open_any(path: Path, *, fps: float | None = None, task: str = "") -> FrameSource:
    """Open a data set of any format with every array under its own name.

    Args:
        path: Its folder or file.
        fps: Frames per second, for formats that do not record it.
        task: What the robot is asked to do, for formats that do not record it.

    Raises:
        DatasetError: It is no data set, is broken, or `fps` is needed or no rate.
        MissingPackageError: The package that reads its format is not installed.
    """
    kind = detect_format(path)
    if fps is not None and not 0 < fps < math.inf:
        message = f"{path}: the frame rate must be a number above 0, got {fps:g}"
        raise DatasetError(message)
    if kind == "lerobot":
        from experiments_il.data.lerobot_source import open_lerobot  # noqa: PLC0415 - pyarrow

        return open_lerobot(path)
    if kind == "robomimic":
        from experiments_il.data.robomimic import open_robomimic  # noqa: PLC0415 - h5py

        return open_robomimic(path, fps=fps)
    if fps is None:
        message = f"{path}: records no frame rate; give it with --fps"
        raise DatasetError(message)
    if kind == "aloha":
        from experiments_il.data.aloha import open_episodic_hdf5  # noqa: PLC0415 - h5py

        return open_episodic_hdf5(path, fps=fps, task=task)
    from experiments_il.data.zarr_replay import open_zarr_replay  # noqa: PLC0415 - zarr

    return open_zarr_replay(path, fps=fps, task=task)
