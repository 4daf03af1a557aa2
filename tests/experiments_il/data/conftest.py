"""Small data sets whose values say which row they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from experiments_il.data.writer import LeRobotWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class MakeDataset(Protocol):
    def __call__(self, lengths: Sequence[int] = ..., name: str = ..., camera: bool = ...) -> Path:
        """Write a data set: `observation.state` of row r is [r, -r], `action` is r / 2."""
        ...


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    def make(
        lengths: Sequence[int] = (5, 3, 7), name: str = "dataset", camera: bool = False
    ) -> Path:
        features: dict[str, dict[str, Any]] = {
            "observation.state": {"dtype": "float32", "shape": [2]},
            "action": {"dtype": "float64", "shape": [1]},
            "words": {"dtype": "string", "shape": [1]},
        }
        if camera:
            features["observation.images.top"] = {"dtype": "image", "shape": [2, 4, 3]}
        row = 0
        with LeRobotWriter.create(tmp_path / name, fps=10, features=features) as writer:
            for number, length in enumerate(lengths):
                rows = np.arange(row, row + length)
                frames: dict[str, Any] = {
                    "observation.state": np.stack([rows, -rows], axis=1).astype(np.float32),
                    "action": rows / 2,
                    "words": [f"word {r % 3}" for r in rows],
                }
                if camera:
                    pixels = np.repeat(rows.astype(np.uint8), 24)
                    frames["observation.images.top"] = pixels.reshape(-1, 2, 4, 3)
                writer.add_episode(frames, f"task {number % 2}")
                row += length
        return tmp_path / name

    return make
