"""What a recording of demonstrations holds, known before it is made; without torch and numpy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments_il.data import batch_shapes
from experiments_il.data.durable import is_unused
from experiments_il.data.lerobot_format import DEFAULT_FEATURES, parse_feature
from experiments_il.sim.metaworld_env import ACTION_DIM, OBSERVATION_DIM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = ["RECORDED_COLUMNS", "RECORDED_FEATURES", "describe"]

RECORDED_COLUMNS: dict[str, dict[str, Any]] = {
    "observation.state": {"dtype": "float32", "shape": [OBSERVATION_DIM]},
    "action": {
        "dtype": "float32",
        "shape": [ACTION_DIM],
        "names": ["delta_x", "delta_y", "delta_z", "gripper"],
    },
    "next.reward": {"dtype": "float32", "shape": [1]},
    "next.done": {"dtype": "bool", "shape": [1]},
    "next.success": {"dtype": "bool", "shape": [1]},
}
"""The columns as `info.json` declares them, without those that every data set has."""

RECORDED_FEATURES = {n: parse_feature(n, spec) for n, spec in RECORDED_COLUMNS.items()} | {
    feature.name: feature for feature in DEFAULT_FEATURES
}
"""The columns of every recording by key."""


def describe(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    """Return the shape of each key of the batches of `metaworld`.

    Args:
        parameters: Those of the factory, as the file has them.
        report: Receives the keys that the data set does not have.
    """
    if is_unused(Path(str(parameters.get("root", ""))).expanduser()):
        return batch_shapes.describe_features(RECORDED_FEATURES, parameters, report)
    return batch_shapes.describe(parameters, report)
