from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.dataset import BatchFeature, WindowDataset
from experiments_il.data.lerobot_source import open_lerobot
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.experiments_il.data.conftest import MakeDataset

CAMERA = "observation.images.top"


def open_dataset(root: Path, *args: Any, **kwargs: Any) -> WindowDataset:
    return WindowDataset(ColumnStore(open_lerobot(root)), *args, **kwargs)


def test_batch_has_the_declared_features_and_index(make_dataset: MakeDataset) -> None:
    root = make_dataset(camera=True)
    dataset = open_dataset(root, {"action": range(4), CAMERA: [-1, 0]}, ["observation.state"])
    batch = dataset.__getitems__(np.array([0, 14]))
    assert dataset.features == {
        "observation.state": BatchFeature((2,), "float32"),
        "action": BatchFeature((4,), "float32"),
        "action_is_pad": BatchFeature((4,), "bool"),
        CAMERA: BatchFeature((2, 3, 2, 4), "uint8"),
        f"{CAMERA}_is_pad": BatchFeature((2,), "bool"),
        "index": BatchFeature((), "int64"),
    }
    for key, feature in dataset.features.items():
        assert batch[key].shape == (2, *feature.shape)
        assert batch[key].dtype == getattr(torch, feature.dtype)


def test_without_keys_every_feature_but_strings_is_there(make_dataset: MakeDataset) -> None:
    assert list(open_dataset(make_dataset()).features) == [
        "observation.state",
        "action",
        "timestamp",
        "frame_index",
        "episode_index",
        "index",
        "task_index",
    ]


def test_camera_windows_stay_inside_the_episode(make_dataset: MakeDataset) -> None:
    dataset = open_dataset(make_dataset(camera=True), {CAMERA: [-1, 0]}, [])
    batch = dataset.__getitems__([5, 6])
    assert batch[CAMERA][:, :, 0, 0, 0].tolist() == [[5, 5], [5, 6]]
    assert batch[f"{CAMERA}_is_pad"].tolist() == [[True, False], [False, False]]


def test_window_of_one_frame_keeps_its_dimension(make_dataset: MakeDataset) -> None:
    sample = open_dataset(make_dataset(), {"action": [0]}, [])[3]
    assert sample["action"].tolist() == [1.5]
    assert sample["action_is_pad"].tolist() == [False]


def test_strings_come_when_they_are_named(make_dataset: MakeDataset) -> None:
    batch = open_dataset(make_dataset((2, 3)), keys=["task", "words"]).__getitems__([1, 2])
    assert batch["task"] == ["task 0", "task 1"]
    assert batch["words"] == ["word 1", "word 2"]


def test_chosen_episodes_keep_the_order_of_the_files(make_dataset: MakeDataset) -> None:
    dataset = open_dataset(make_dataset((2, 3, 2)), keys=[], episodes=[2, 0])
    assert dataset.episodes == (0, 2)
    assert dataset.__getitems__(range(len(dataset)))["index"].tolist() == [0, 1, 5, 6]


def test_batch_may_be_written_to(make_dataset: MakeDataset) -> None:
    dataset = open_dataset(make_dataset(), {"action": range(2)})
    dataset.__getitems__([0])["observation.state"].fill_(7)
    assert dataset[0]["observation.state"].tolist() == [0, 0]


def test_pickled_dataset_gives_the_same_batch(make_dataset: MakeDataset) -> None:
    dataset = open_dataset(make_dataset(camera=True), {"action": range(3)})
    copy: WindowDataset = pickle.loads(pickle.dumps(dataset))
    for key, value in dataset.__getitems__([4, 9]).items():
        torch.testing.assert_close(copy.__getitems__([4, 9])[key], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"keys": ["observation.stat"]},
            (
                "{root}: the data set has no key 'observation.stat'; "
                "did you mean 'observation.state'?"
            ),
        ),
        ({"offsets": {"task": [0]}}, "'task' holds strings, which have no windows"),
        (
            {"offsets": {"zzz": [0]}},
            (
                "{root}: the data set has no key 'zzz'; it has action, episode_index, frame_index, "
                "index, observation.state, task_index, timestamp, words"
            ),
        ),
        ({"offsets": {"words": [0]}}, "'words' holds strings, which have no windows"),
        (
            {"episodes": [1, 3]},
            "{root}: no episode 3; the data set has episodes 0 to 2",
        ),
        (
            {"episodes": []},
            ("{root}: no episodes to choose from an empty list; the data set has episodes 0 to 2"),
        ),
    ],
)
def test_what_the_data_set_lacks_is_named(
    make_dataset: MakeDataset, arguments: dict[str, Any], message: str
) -> None:
    root = make_dataset()
    with pytest.raises(DatasetError) as caught:
        open_dataset(root, **arguments)
    assert str(caught.value) == message.format(root=root)


def test_fingerprint_tells_other_data_and_not_another_place(make_dataset: MakeDataset) -> None:
    first = open_dataset(make_dataset((5, 3), "first")).fingerprint
    assert open_dataset(make_dataset((5, 3), "second")).fingerprint == first
    assert open_dataset(make_dataset((4, 4), "cut")).fingerprint["episodes"] != first["episodes"]
    assert open_dataset(make_dataset((5, 3, 2), "more")).fingerprint != first
    some = open_dataset(make_dataset((5, 3), "some"), episodes=[0]).fingerprint
    assert some["numbers"] != first["numbers"]
