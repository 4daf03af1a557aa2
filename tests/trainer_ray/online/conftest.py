"""Small buffers and episodes whose every number tells where it came from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
import ray
import yaml

from trainer_ray.mailbox import NAMESPACE
from trainer_ray.online.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEEL = Path(__file__).parent / "wheel"
"""Is installed where it is in the path: a data set and a game, see `wheel/online_toy.py`."""

KEYS: dict[str, dict[str, Any]] = {
    "action": {"shape": [2], "dtype": "float32", "offsets": [0, 1, 2]},
    "frame": {"shape": [], "dtype": "int64", "offsets": None},
}


class MakeEpisode(Protocol):
    """Returns an episode as a producer sends it; its frames count up from `first`."""

    def __call__(self, first: int = 0, steps: int = 4, **more: Any) -> dict[str, Any]: ...


class OpenBuffer(Protocol):
    """Opens the test's folder once more, after closing the buffer before."""

    def __call__(self, **options: Any) -> ReplayBuffer: ...


@pytest.fixture
def episode() -> MakeEpisode:
    def make(first: int = 0, steps: int = 4, **more: Any) -> dict[str, Any]:
        frames = np.arange(first, first + steps)
        action = np.stack([frames, -frames], axis=1).astype(np.float32)
        return {"columns": {"action": action, "frame": frames}, "success": True, **more}

    return make


@pytest.fixture
def open_buffer(tmp_path: Path) -> Iterator[OpenBuffer]:
    opened: list[ReplayBuffer] = []

    def close() -> None:
        while opened:
            opened.pop().close()

    def open_one(**options: Any) -> ReplayBuffer:
        close()
        given = {"keys": KEYS, "capacity": 100, "lock_patience_s": 0.0, **options}
        opened.append(ReplayBuffer(str(tmp_path / "replay"), **given))
        return opened[-1]

    yield open_one
    close()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the wheel with a data set and a game, here and in processes that tests start."""
    monkeypatch.syspath_prepend(WHEEL)
    monkeypatch.setenv("PYTHONPATH", str(WHEEL))


@pytest.fixture
def toy_experiment(toy: None, dropout_experiment: dict[str, Any]) -> dict[str, Any]:
    """A run that learns from the game in a cluster of its own."""
    return {
        **dropout_experiment,
        "runner": {"_type_": "ray_online", "min_frames": 16, "publish_every": 5},
        "data": {"_type_": "toy", "batch_size": 8},
        "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["first"]}},
        "trainer": {"_type_": "default", "max_steps": 60, "log_every_n_steps": 20},
        "evaluation": {"_type_": "toy", "every": 30},
        "callbacks": [{"_type_": "model_checkpoint", "every_n_steps": 20}],
        "run": {**dropout_experiment["run"], "resume": "auto"},
    }


@pytest.fixture
def toy_file(toy_experiment: dict[str, Any], tmp_path: Path) -> Path:
    """The same as a file."""
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(toy_experiment))
    return file


@pytest.fixture
def joined(toy_experiment: dict[str, Any], address: str, tmp_path: Path) -> dict[str, Any]:
    """A run in the cluster of all tests, with actors of its own names."""
    runner = {**toy_experiment["runner"], "address": address}
    runner |= {"replay_buffer": str(tmp_path), "policy_state_manager": f"{tmp_path} weights"}
    return {**toy_experiment, "runner": runner}


@pytest.fixture
def program(address: str) -> Iterator[None]:
    """A program that has joined the cluster itself."""
    ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
