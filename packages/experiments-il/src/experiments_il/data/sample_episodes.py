"""Two recorded episodes of noise, in every format: what the checks of our components read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.export import export
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.writer import LeRobotWriter

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_sample_episodes"]

_FEATURES: dict[str, dict[str, Any]] = {
    "observation.state": {"dtype": "float32", "shape": [39]},
    "action": {"dtype": "float32", "shape": [4]},
}


def write_sample_episodes(folder: Path) -> None:
    """Write the data set `demos` of two episodes of ten steps, in the shapes of Meta-World.

    `demos.hdf5` (robomimic), `episodes` (ALOHA) and `demos.zarr` hold the same.
    """
    random = np.random.default_rng(0)
    with LeRobotWriter.create(folder / "demos", fps=80, features=_FEATURES) as writer:
        for _ in range(2):
            episode = {
                key: random.normal(size=(10, *feature["shape"])).astype(np.float32)
                for key, feature in _FEATURES.items()
            }
            writer.add_episode(episode, task="reach")
    source = open_lerobot(folder / "demos")
    for kind, name in (("robomimic", "demos.hdf5"), ("aloha", "episodes"), ("zarr", "demos.zarr")):
        export(source, folder / name, kind)
