from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from experiments_il.data import lerobot_source
from experiments_il.data.arrow import pa, pq
from experiments_il.data.column_store import ColumnStore
from experiments_il.data.lerobot_source import open_lerobot
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.experiments_il.data.conftest import MakeDataset

DATA = "data/chunk-000/file-000.parquet"


def open_store(root: Path) -> ColumnStore:
    return ColumnStore(open_lerobot(root))


def edit_table(root: Path, edit: Callable[[Any], Any]) -> None:
    pq.write_table(edit(pq.read_table(root / DATA)), root / DATA)


def with_column(name: str, values: Any) -> Callable[[Any], Any]:
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values))


def test_columns_and_edge_distances_are_those_of_the_rows(make_dataset: MakeDataset) -> None:
    store = open_store(make_dataset((2, 3)))
    assert store.numbers("observation.state")[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert store.before.tolist() == [0, 1, 0, 1, 2]
    assert store.after.tolist() == [1, 0, 2, 1, 0]
    assert store.strings("words", np.array([3, 4])) == ["word 0", "word 1"]


def test_second_open_reads_no_data_file(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_dataset(camera=True)
    open_store(root).frames("observation.images.top")
    monkeypatch.setattr(lerobot_source, "read_table", lambda *_: pytest.fail("read again"))
    assert open_store(root).frames("observation.images.top")[14, 0, 0, 0] == 14


def test_changed_data_file_rebuilds_the_columns(make_dataset: MakeDataset) -> None:
    root = make_dataset((5,))
    open_store(root)
    edit_table(root, with_column("action", [9.0] * 5))
    assert open_store(root).numbers("action").tolist() == [9.0] * 5


def test_value_that_is_not_finite_is_placed_when_it_is_asked_for(make_dataset: MakeDataset) -> None:
    root = make_dataset((2, 3))
    edit_table(root, with_column("action", [0.0, 1.0, 2.0, float("nan"), float("inf")]))
    store = open_store(root)
    assert store.numbers("observation.state").shape == (5, 2)
    with pytest.raises(DatasetError) as caught:
        store.numbers("action")
    assert str(caught.value) == (
        f"{root}: 'action' has a value that is not finite at episode 1, frame 1"
    )


def test_touched_data_file_rebuilds_the_columns(make_dataset: MakeDataset) -> None:
    root = make_dataset((5,))
    open_store(root)
    os.utime(root / DATA, ns=(0, 0))
    caches = root / ".cache-trainer"
    before = [path.name for path in caches.iterdir()]
    open_store(root)
    assert [path.name for path in caches.iterdir()] != before


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            with_column("action", [0.0, 1.0, None, 3.0, 4.0]),
            "{root}/" + DATA + ": 'action' is null at episode 1, frame 0",
        ),
        (
            lambda table: table.drop_columns(["action"]),
            "{root}/" + DATA + ": no column 'action', which info.json declares; it has "
            "episode_index, frame_index, index, observation.state, task_index, timestamp, words",
        ),
        (
            lambda table: table.slice(0, 4),
            "{root}/" + DATA + ": 4 rows, its episodes have 5",
        ),
        (
            with_column("index", [0, 1, 2, 4, 3]),
            "{root}: 'index' is 4 at episode 1, frame 1, expected 3",
        ),
        (
            with_column("frame_index", [0, 1, 2, 3, 4]),
            "{root}: 'frame_index' is 2 at episode 1, frame 0, expected 0",
        ),
        (
            with_column("task_index", [0, 0, 1, 1, 2]),
            "{root}: 'task_index' is 2 at episode 1, frame 2, the data set has 2 tasks",
        ),
    ],
)
def test_broken_data_file_names_episode_and_frame(
    make_dataset: MakeDataset, edit: Callable[[Any], Any], message: str
) -> None:
    root = make_dataset((2, 3))
    edit_table(root, edit)
    with pytest.raises(DatasetError) as caught:
        open_store(root)
    assert str(caught.value) == message.format(root=root)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "missing; the data set's metadata names this file"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-8]),
            "no parquet footer: the recording was not finalised",
        ),
    ],
)
def test_unfinished_data_file_is_named(
    make_dataset: MakeDataset, damage: Callable[[Path], None], message: str
) -> None:
    root = make_dataset()
    damage(root / DATA)
    with pytest.raises(DatasetError) as caught:
        open_store(root)
    assert str(caught.value) == f"{root}/{DATA}: {message}"


def test_undecodable_image_names_camera_episode_and_frame(make_dataset: MakeDataset) -> None:
    root = make_dataset((2, 3), camera=True)
    key = "observation.images.top"
    blobs = pq.read_table(root / DATA)[key].to_pylist()
    blobs[3] = {"bytes": b"no image", "path": None}
    edit_table(root, with_column(key, blobs))
    with pytest.raises(DatasetError) as caught:
        open_store(root).frames(key)
    where = f"{root}/{DATA}: '{key}' at episode 1, frame 1"
    assert str(caught.value).startswith(f"{where}: the image cannot be decoded: ")
