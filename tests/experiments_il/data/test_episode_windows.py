"""Episodes that a data set does not hold become batches as its own do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.mixture import MixtureFactory
from experiments_il.data.writer import LeRobotWriter
from trainer_core.errors import DatasetError
from trainer_core.online import EpisodeKey, OnlineData
from trainer_core.windows import EdgeDistances, Window

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from tests.experiments_il.data.conftest import MakeDataset

CAMERA = "observation.images.top"
NOWHERE = ("index", "episode_index")
READINGS: list[dict[str, Any]] = [
    {},
    {"windows": {"action": [0, 4]}, "keys": ["observation.state", "task"]},
    {"windows": {"action": [-2, 3], CAMERA: [-1, 1]}, "keys": ["task_index", "next.done"]},
    {
        "windows": {"action": [0, 4], "observation.state": [-1, 1]},
        "keys": [],
        "relative_actions": {"action": {"dims": [1, None]}},
    },
    {
        "windows": {"action": [0, 4]},
        "keys": ["timestamp"],
        "relative_actions": {"action": {}},
    },
]


def write(root: Path, kind: str = "float32") -> Path:
    """Write three episodes of noise of one task."""
    random = np.random.default_rng(0)
    features: dict[str, dict[str, Any]] = {
        "observation.state": {"dtype": kind, "shape": [2]},
        "action": {"dtype": kind, "shape": [2]},
        CAMERA: {"dtype": "image", "shape": [2, 4, 3]},
        "next.done": {"dtype": "bool", "shape": [1]},
    }
    with LeRobotWriter.create(root, fps=10, features=features) as writer:
        for length in (5, 1, 12):
            frames: dict[str, Any] = {
                name: random.standard_normal((length, 2)).astype(kind)
                for name in ("observation.state", "action")
            }
            frames[CAMERA] = random.integers(0, 256, (length, 2, 4, 3), np.uint8)
            frames["next.done"] = np.arange(length) == length - 1
            writer.add_episode(frames, "push")
    return root


def open_set(root: Path, **reading: Any) -> Any:
    return LeRobotFactory(str(root), cache="none", **reading).build({}, {})["dataset"]


def windows_of(root: Path, dataset: Any, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the windows of samples of the set, cut as a buffer of episodes does: read-only."""
    store = ColumnStore(open_lerobot(root), cache="none")
    edges = EdgeDistances(rows, store.before, store.after)
    windows: dict[str, NDArray[Any]] = {}
    for name, key in dataset.episode_keys.items():
        column = store.frames(name) if name == CAMERA else store.numbers(name)
        column = column.astype(key.dtype)
        assert column.shape[1:] == key.shape
        if key.offsets is None:
            windows[name] = column[rows]
            continue
        window = Window(key.offsets)
        windows[name] = window.gather(column, edges)
        windows[f"{name}_is_pad"] = window.is_pad(edges)
    for values in windows.values():
        values.flags.writeable = False
    return windows


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_windows_of_its_own_samples_are_its_own_batch(
    tmp_path: Path, reading: dict[str, Any], kind: str
) -> None:
    root = write(tmp_path / "set", kind)
    dataset = open_set(root, **reading)
    is_online: bool = isinstance(dataset, OnlineData)
    assert is_online
    rows = np.array([0, 4, 5, 17, 3, 3, 6])
    own = dataset.__getitems__(rows)
    made = dataset.batch_of_windows(windows_of(root, dataset, rows))
    assert list(made) == list(own)
    for key, values in own.items():
        if key in NOWHERE:
            assert made[key].tolist() == [-1] * len(rows)
        elif isinstance(values, list):
            assert made[key] == values
        else:
            assert made[key].dtype == values.dtype
            torch.testing.assert_close(made[key], values, rtol=0, atol=0)


def test_an_episode_brings_what_is_not_known_without_it(tmp_path: Path) -> None:
    dataset = open_set(write(tmp_path / "set", "float16"), windows={"action": [0, 2]})
    assert dataset.episode_keys == {
        "observation.state": EpisodeKey((2,), "float32"),
        "action": EpisodeKey((2,), "float32", (0, 1)),
        CAMERA: EpisodeKey((3, 2, 4), "uint8"),
        "next.done": EpisodeKey((), "bool"),
        "timestamp": EpisodeKey((), "float32"),
        "frame_index": EpisodeKey((), "int64"),
    }


def test_what_actions_are_relative_to_is_asked_for(tmp_path: Path) -> None:
    dataset = open_set(
        write(tmp_path / "set"),
        windows={"action": [0, 2]},
        keys=[],
        relative_actions={"action": {}},
    )
    assert list(dataset.episode_keys) == ["action", "observation.state"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            ["words"],
            "'words' holds strings, which new episodes do not bring; leave it out of data.keys",
        ),
        (
            ["task"],
            (
                "has 2 tasks, and a new episode does not say which is its own; leave 'task' out "
                "of data.keys"
            ),
        ),
    ],
)
def test_keys_that_no_episode_brings_are_refused(
    make_dataset: MakeDataset, keys: list[str], message: str
) -> None:
    root = make_dataset()
    with pytest.raises(DatasetError) as caught:
        _ = open_set(root, keys=keys).episode_keys
    assert str(caught.value) == f"{root}: {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": None}, "windows of 'action': expected [2, 3, 2], found nothing"),
        (
            {"action_is_pad": np.zeros((2, 4), bool)},
            "windows of 'action_is_pad': expected [2, 3], found [2, 4]",
        ),
        (
            {"observation.state": np.zeros((3, 2), np.float32)},
            "windows of 'action': expected [3, 3, 2], found [2, 3, 2]",
        ),
    ],
)
def test_windows_of_another_shape_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    root = write(tmp_path / "set")
    dataset = open_set(root, windows={"action": [0, 3]}, keys=["observation.state"])
    windows = windows_of(root, dataset, np.array([0, 1])) | change
    given = {key: value for key, value in windows.items() if value is not None}
    with pytest.raises(DatasetError) as caught:
        dataset.batch_of_windows(given)
    assert str(caught.value) == message


def test_a_mixture_takes_no_new_episodes(tmp_path: Path) -> None:
    sets = {name: LeRobotFactory(str(write(tmp_path / name))) for name in ("one", "two")}
    mixture = MixtureFactory(sets).build({}, {})["dataset"]
    with pytest.raises(DatasetError) as caught:
        _ = mixture.episode_keys
    assert str(caught.value) == (
        "a mixture (one, two) takes no new episodes: they do not say whose of these they are; "
        "learn online with one data set"
    )
