"""The features of a LeRobotDataset in the making, as `info.json` declares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.lerobot_format import DEFAULT_FEATURES, parse_feature
from experiments_il.data.video_files import video_details
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from experiments_il.data.lerobot_format import Feature

__all__ = ["converted_specs", "default_values", "feature_specs"]


def feature_specs(
    root: Path, features: Mapping[str, Mapping[str, Any]], fps: float, codec: str
) -> dict[str, dict[str, Any]]:
    """Return the entries of `features`, with LeRobot's own five and the details of videos.

    Args:
        root: The data set, for messages.
        features: dtype, shape and names by name, without LeRobot's five.
        fps: Frames per second.
        codec: Of the videos.

    Raises:
        DatasetError: There are none, one is LeRobot's own, or one is not valid.
    """
    reserved = [feature.name for feature in DEFAULT_FEATURES if feature.name in features]
    if reserved or not features:
        wrong = f"'{reserved[0]}' is written by itself" if reserved else "no features"
        message = f"{root}: {wrong}; name the features that episodes bring"
        raise DatasetError(message)
    specs: dict[str, Any] = {name: {"names": None, **spec} for name, spec in features.items()}
    for default in DEFAULT_FEATURES:
        specs[default.name] = {"dtype": default.dtype, "shape": [1], "names": None}
    for name, spec in specs.items():
        if spec["dtype"] == "video":
            details = video_details(parse_feature(name, spec), fps, codec)
            specs[name] = {**spec, "info": details}
    return {name: {**spec, "shape": list(spec["shape"])} for name, spec in specs.items()}


def converted_specs(
    features: Mapping[str, Feature], names: Sequence[str], camera: str
) -> dict[str, dict[str, Any]]:
    """Return what to declare for the features of another data set.

    Args:
        features: Those of the other data set.
        names: Those that are taken over.
        camera: `image` or `video`; depth is always a video.
    """
    specs: dict[str, dict[str, Any]] = {}
    for name in names:
        feature = features[name]
        specs[name] = {"dtype": feature.dtype, "shape": feature.shape, "names": feature.names}
        if feature.is_frame:
            channels, height, width = feature.item_shape
            specs[name] = {"dtype": camera, "shape": (height, width, channels)}
            specs[name]["names"] = ["height", "width", "channels"]
        if feature.depth is not None:
            specs[name] |= {"dtype": "video", "info": feature.depth.to_json()}
    return specs


def default_values(
    episode: int, first_row: int, fps: float, task_index: Sequence[int]
) -> dict[str, Any]:
    """Return LeRobot's own five columns of an episode.

    Args:
        episode: Its number.
        first_row: Row of its first frame.
        fps: Frames per second.
        task_index: Of each frame.
    """
    frame = np.arange(len(task_index))
    return {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(len(frame), episode),
        "index": first_row + frame,
        "task_index": np.asarray(task_index, np.int64),
    }
