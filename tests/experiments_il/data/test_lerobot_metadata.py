from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from experiments_il.data.arrow import pa, pq
from experiments_il.data.lerobot_metadata import open_metadata
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.experiments_il.data.conftest import MakeDataset

EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def edit_info(root: Path, **changes: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_column(root: Path, name: str, values: list[Any], file: str = EPISODES) -> None:
    table = pq.read_table(root / file)
    position = table.column_names.index(name)
    pq.write_table(table.set_column(position, name, pa.array(values)), root / file)


def drop_column(root: Path, name: str) -> None:
    pq.write_table(pq.read_table(root / EPISODES).drop_columns([name]), root / EPISODES)


def cut_footer(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_episodes_tasks_and_files_are_read(make_dataset: MakeDataset) -> None:
    metadata = open_metadata(make_dataset((5, 3, 7)))
    assert metadata.tasks == ("task 0", "task 1")
    assert metadata.episodes.length.tolist() == [5, 3, 7]
    assert [(file.start, file.stop) for file in metadata.data_files] == [(0, 15)]
    assert metadata.episodes.place(8) == "episode 2, frame 0"


def test_episodes_beyond_the_count_are_an_unfinished_append(make_dataset: MakeDataset) -> None:
    root = make_dataset((5, 3, 7))
    edit_info(root, total_episodes=2, total_frames=8)
    assert open_metadata(root).episodes.length.tolist() == [5, 3]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: edit_info(root, total_episodes=4),
            (
                "{root}/meta/episodes: holds 3 episodes, info.json counts 4; "
                "the recording was not finalised"
            ),
        ),
        (
            lambda root: edit_info(root, total_frames=16),
            "{root}/meta/episodes: episodes hold 15 frames, info.json counts 16",
        ),
        (
            lambda root: edit_column(root, "episode_index", [0, 2, 2]),
            "{root}/meta/episodes: episode 1 is missing or there twice",
        ),
        (
            lambda root: edit_column(root, "dataset_from_index", [0, 4, 8]),
            (
                "{root}/meta/episodes: episode 1 has rows 4 to 8 and length 3; "
                "expected it to start at 5"
            ),
        ),
        (
            lambda root: edit_column(root, "length", ["a", "b", "c"]),
            "{root}/" + EPISODES + ": column 'length' holds string, expected int64",
        ),
        (
            lambda root: drop_column(root, "length"),
            "{root}/" + EPISODES + ": column 'length' is missing or incomplete",
        ),
        (
            lambda root: (root / EPISODES).unlink(),
            "{root}/meta/episodes: no episodes table; the recording was not finalised",
        ),
        (
            lambda root: cut_footer(root / EPISODES),
            "{root}/" + EPISODES + ": no parquet footer: the recording was not finalised",
        ),
        (
            lambda root: (root / "meta/tasks.parquet").unlink(),
            "{root}/meta/tasks.parquet: missing; the data set's metadata names this file",
        ),
        (
            lambda root: edit_column(root, "task_index", [1, 0], "meta/tasks.parquet"),
            "{root}/meta/tasks.parquet: row i must have task_index i",
        ),
    ],
)
def test_contradicting_metadata_is_refused(
    make_dataset: MakeDataset, damage: Callable[[Path], None], message: str
) -> None:
    root = make_dataset((5, 3, 7))
    damage(root)
    with pytest.raises(DatasetError) as caught:
        open_metadata(root)
    assert str(caught.value) == message.format(root=root)


def test_garbage_between_parquet_marks_is_refused(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    (root / EPISODES).write_bytes(b"PAR1 no parquet at all PAR1")
    with pytest.raises(DatasetError, match=r"file-000\.parquet: cannot be read as parquet: "):
        open_metadata(root)
