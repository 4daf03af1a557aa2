"""A healthy recording in every format, and the ways to damage it that users meet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.arrow import pa, pq
from experiments_il.data.export import export
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.writer import LeRobotWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FPS = 10
LENGTHS = (12, 10, 14)
TOP = "observation.images.top"
SIDE = "observation.images.side"
DATA = "data/chunk-000/file-000.parquet"
VIDEO = f"videos/{SIDE}/chunk-000/file-000.mp4"
_FEATURES: dict[str, dict[str, Any]] = {
    "observation.state": {"dtype": "float32", "shape": [3]},
    "action": {"dtype": "float32", "shape": [2]},
    TOP: {"dtype": "image", "shape": [8, 8, 3]},
}


def write_healthy(root: Path, kind: str = "lerobot", *, side: int = 32, **changed: Any) -> Path:
    """Write the recording.

    Args:
        root: A folder or file that is not there yet.
        kind: `video` adds an mp4 camera to `lerobot`; else a format of `export`.
        side: Pixels of a side of the mp4 camera.
        changed: Values of episode 1 by feature, with `_` for `.`.
    """
    features = dict(_FEATURES)
    if kind == "video":
        features[SIDE] = {"dtype": "video", "shape": [side, side, 3]}
    base = root if kind in {"lerobot", "video"} else root.with_name(f"{root.name}.source")
    with LeRobotWriter.create(base, fps=FPS, features=features) as writer:
        for number, length in enumerate(LENGTHS):
            values = _episode(number, length, features)
            if number == 1:
                values |= {key.replace("_", "."): value for key, value in changed.items()}
            writer.add_episode(values, "reach")
    if base != root:
        export(open_lerobot(base), root, kind)
    return root


def _episode(seed: int, length: int, features: Mapping[str, Any]) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "observation.state": random.uniform(-1, 1, (length, 3)).cumsum(0).astype(np.float32),
        "action": random.uniform(-1, 1, (length, 2)).astype(np.float32),
    }
    for key in features.keys() - values.keys():
        shape = (length, *features[key]["shape"])
        values[key] = random.integers(60, 200, shape, np.uint8)
    return values


def edit_json(path: Path, **changes: Any) -> None:
    """Change top-level entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_column(path: Path, name: str, values: Any) -> None:
    """Replace a column of a parquet file; of the same type, if numpy knows it."""
    table = pq.read_table(path)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array(values)), path)


def cut(path: Path, share: float) -> None:
    """Leave the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes wherever they are in a file."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
