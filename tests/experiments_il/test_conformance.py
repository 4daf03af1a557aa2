"""The components of experiments-il pass the kit that strangers' must pass."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments_il.data.writer import LeRobotWriter
from trainer_core.testing import conformance_classes

FEATURES: dict[str, dict[str, Any]] = {
    "observation.state": {"dtype": "float32", "shape": [39]},
    "action": {"dtype": "float32", "shape": [4]},
}


@pytest.fixture(autouse=True)
def demonstrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write two episodes as `demos` in the working folder."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    with LeRobotWriter.create(tmp_path / "demos", fps=80, features=FEATURES) as writer:
        for _ in range(2):
            episode = {
                key: random.normal(size=(10, *feature["shape"])).astype(np.float32)
                for key, feature in FEATURES.items()
            }
            writer.add_episode(episode, task="reach")


globals().update(
    conformance_classes("experiments-il", Path(__file__).with_name("conformance.yaml"))
)
