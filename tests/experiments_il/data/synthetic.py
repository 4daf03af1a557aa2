"""One synthetic recording, written in every format that is read."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.export import export
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.writer import LeRobotWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from experiments_il.data.source import FrameSource

FPS = 10
FEATURES: dict[str, dict[str, Any]] = {
    "observation.state": {"dtype": "float32", "shape": [4]},
    "observation.velocity": {"dtype": "float32", "shape": [2]},
    "observation.images.top": {"dtype": "image", "shape": [6, 8, 3]},
    "action": {"dtype": "float32", "shape": [3]},
    "next.reward": {"dtype": "float32", "shape": [1]},
    "next.done": {"dtype": "bool", "shape": [1]},
}


def write_lerobot(root: Path, lengths: Sequence[int] = (5, 1, 12)) -> FrameSource:
    """Write a LeRobotDataset v3.0 of noise; eleven and more episodes test the order of names."""
    random = np.random.default_rng(0)
    with LeRobotWriter.create(root, fps=FPS, features=FEATURES) as writer:
        for length in lengths:
            values: dict[str, Any] = {
                name: random.standard_normal((length, *spec["shape"])).astype(np.float32)
                for name, spec in FEATURES.items()
                if spec["dtype"] == "float32"
            }
            values["next.done"] = np.arange(length) == length - 1
            pixels = random.integers(0, 256, (length, 6, 8, 3), np.uint8)
            writer.add_episode({**values, "observation.images.top": pixels}, "push")
    return open_lerobot(root)


def write_zarr_zip(source: FrameSource, path: Path) -> Path:
    """Write a store and pack it."""
    folder = path.with_suffix("")
    export(source, folder, "zarr")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(folder))
    return path
