"""What a recording of demonstrations holds, known before it is made; without torch and numpy."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments_il.data import batch_shapes
from experiments_il.data.durable import is_unused
from experiments_il.data.lerobot_format import DEFAULT_FEATURES, parse_feature
from experiments_il.sim.simulators import (
    ALOHA,
    METAWORLD,
    PUSHT,
    Simulator,
    wrong_cameras,
    wrong_tasks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments_il.data.lerobot_format import Feature
    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = [
    "describe",
    "describe_aloha",
    "describe_metaworld",
    "describe_pusht",
    "recorded_features",
]

_IMAGE_SIZE = (64, 64)


def recorded_features(
    simulator: Simulator, task: str, cameras: Mapping[str, str], image_size: Sequence[int]
) -> dict[str, Feature]:
    """Return the columns of a recording by key, with those that every data set has."""
    columns = simulator.columns(task, cameras, image_size)
    own = {name: parse_feature(name, spec) for name, spec in columns.items()}
    return own | {feature.name: feature for feature in DEFAULT_FEATURES}


def describe(
    parameters: Mapping[str, Any], report: BatchReport, *, simulator: Simulator
) -> BatchShapes | None:
    """Return the shape of each key of the batches of a recording.

    Args:
        parameters: Those of the factory, as the file has them.
        report: Receives the keys that the data set does not have, and what is wrong with
            the task and the cameras.
        simulator: What is recorded.
    """
    cameras = parameters.get("cameras") or {}
    size = parameters.get("image_size") or _IMAGE_SIZE
    task = str(parameters.get("task", ""))
    wrong = [*wrong_tasks(simulator, task), *wrong_cameras(simulator, cameras, size)]
    for each in wrong:
        report(each.place, each.message, each.suggestions, on="value")
    if wrong:
        return None
    if not is_unused(Path(str(parameters.get("root", ""))).expanduser()):
        return batch_shapes.describe(parameters, report)
    features = recorded_features(
        simulator,
        task,
        cameras,
        size,
    )
    return batch_shapes.describe_features(features, parameters, report)


describe_metaworld = partial(describe, simulator=METAWORLD)
describe_pusht = partial(describe, simulator=PUSHT)
describe_aloha = partial(describe, simulator=ALOHA)
