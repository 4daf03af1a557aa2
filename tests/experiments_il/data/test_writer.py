from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experiments_il.data import writer as writer_module
from experiments_il.data.arrow import pq
from experiments_il.data.column_store import ColumnStore
from experiments_il.data.lerobot_format import NUMERIC_DTYPES
from experiments_il.data.lerobot_metadata import open_metadata
from experiments_il.data.lerobot_source import LeRobotSource, open_lerobot
from experiments_il.data.writer import LeRobotWriter
from trainer_core.errors import DatasetError, StorageError

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn
    from tests.experiments_il.data.conftest import MakeDataset

FEATURES = {"action": {"dtype": "float32", "shape": [2]}}
SAMPLE = Path(__file__).parents[2] / "data/lerobot_v3_image/dataset"
Recorded = tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]


def episode(length: int, start: int = 0) -> dict[str, Any]:
    rows = np.arange(start, start + length, dtype=np.float32)
    return {"action": np.stack([rows, -rows], axis=1)}


def write(root: Path, lengths: list[int], **options: Any) -> Path:
    with LeRobotWriter.create(root, fps=10, features=FEATURES, **options) as writer:
        for length in lengths:
            writer.add_episode(episode(length), "task")
    return root


@st.composite
def recordings(draw: DrawFn) -> Recorded:
    shapes = st.lists(st.integers(1, 3), min_size=1, max_size=3)
    specs = st.fixed_dictionaries(
        {"dtype": st.sampled_from(sorted(NUMERIC_DTYPES)), "shape": shapes}
    )
    image = {"dtype": "image", "shape": [2, 3, 3]}
    names = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=9)
    features = draw(st.dictionaries(names.filter(str.isidentifier), specs, max_size=3))
    features |= {"words": {"dtype": "string", "shape": [1]}, "camera.image": image}
    episodes, tasks = [], []
    for length in draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)):
        episodes.append({name: draw(values(spec, length)) for name, spec in features.items()})
        tasks.append(draw(st.text(st.characters(codec="utf-8"), max_size=5)))
    return features, episodes, tasks


def values(spec: dict[str, Any], length: int) -> st.SearchStrategy[Any]:
    if spec["dtype"] == "string":
        return st.lists(st.text(st.characters(codec="utf-8")), min_size=length, max_size=length)
    shape = (length, *spec["shape"])
    if spec["dtype"] == "image":
        return arrays(np.uint8, shape)
    dtype = np.dtype(spec["dtype"])
    if dtype.kind == "f":
        return arrays(dtype, shape, elements={"allow_nan": False, "allow_infinity": False})
    return arrays(dtype, shape)


@settings(max_examples=40, deadline=None)
@given(recording=recordings())
def test_what_is_written_is_read_back(recording: Recorded) -> None:
    features, episodes, tasks = recording
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with LeRobotWriter.create(root, fps=7, features=features, data_file_mb=0.001) as writer:
            for frames, task in zip(episodes, tasks, strict=True):
                writer.add_episode(frames, task)
        store = ColumnStore(open_lerobot(root))
        rows = np.arange(len(store))
        for name, spec in features.items():
            parts = [frames[name] for frames in episodes]
            if spec["dtype"] == "string":
                assert store.strings(name, rows) == [text for part in parts for text in part]
                continue
            wanted = np.concatenate(parts)
            if spec["dtype"] == "image":
                found = store.frames(name).transpose(0, 2, 3, 1)
            else:
                found = store.numbers(name).reshape(wanted.shape)
                assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)
        firsts = store.source.episodes.start
        codes = store.numbers("task_index")[firsts]
        assert [store.source.tasks[code] for code in codes] == tasks


def test_files_have_the_types_and_metadata_of_lerobot(tmp_path: Path) -> None:
    info = json.loads((SAMPLE / "meta/info.json").read_text())
    own = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    features = {name: spec for name, spec in info["features"].items() if name not in own}
    frames = {
        name: np.zeros((3, *spec["shape"]), "uint8" if spec["dtype"] == "image" else spec["dtype"])
        for name, spec in features.items()
    }
    with LeRobotWriter.create(tmp_path, fps=10, features=features) as writer:
        writer.add_episode(frames, "pick the cube")
    data = "data/chunk-000/file-000.parquet"
    ours, theirs = pq.read_schema(tmp_path / data), pq.read_schema(SAMPLE / data)
    assert ours == theirs
    described = [json.loads(s.metadata[b"huggingface"])["info"] for s in (ours, theirs)]
    assert described[0] == described[1]
    episodes = "meta/episodes/chunk-000/file-000.parquet"
    found, wanted = pq.read_schema(tmp_path / episodes), pq.read_schema(SAMPLE / episodes)
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    assert pq.read_schema(tmp_path / "meta/tasks.parquet").pandas_metadata["index_columns"] == [
        "task"
    ]
    statistics = [json.loads((r / "meta/stats.json").read_text()) for r in (tmp_path, SAMPLE)]
    for name, theirs_of_feature in statistics[1].items():
        for key, value in theirs_of_feature.items():
            assert np.shape(statistics[0][name][key]) == np.shape(value), (name, key)


def test_full_file_is_followed_by_the_next(tmp_path: Path) -> None:
    metadata = open_metadata(write(tmp_path, [4, 1, 3], data_file_mb=1e-6))
    names = [file.path.name for file in metadata.data_files]
    assert names == ["file-000.parquet", "file-001.parquet", "file-002.parquet"]
    assert ColumnStore(LeRobotSource(metadata)).numbers("action")[:, 0].tolist() == [
        0,
        1,
        2,
        3,
        0,
        0,
        1,
        2,
    ]


def test_appending_leaves_the_old_files_untouched(tmp_path: Path) -> None:
    root = write(tmp_path, [3, 2])
    before = {path: path.read_bytes() for path in (root / "data").rglob("*.parquet")}
    with LeRobotWriter.append(root) as writer:
        writer.add_episode(episode(4), "another task")
    metadata = open_metadata(root)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert metadata.episodes.length.tolist() == [3, 2, 4]
    assert metadata.tasks == ("task", "another task")
    assert metadata.stats["action"]["max"] == [3.0, 0.0]
    assert metadata.stats["action"]["count"] == [9]


def test_appended_camera_statistics_count_all_frames(make_dataset: MakeDataset) -> None:
    root = make_dataset((5, 3), camera=True)
    with LeRobotWriter.append(root) as writer:
        writer.add_episode(
            {
                "observation.state": np.zeros((2, 2)),
                "action": np.zeros(2),
                "words": ["a", "b"],
                "observation.images.top": np.full((2, 2, 4, 3), 255, np.uint8),
            },
            "task",
        )
    statistics = open_metadata(root).stats["observation.images.top"]
    assert (statistics["count"], statistics["max"]) == ([10], [[[1.0]]] * 3)


def test_failed_block_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    writer = LeRobotWriter.create(root, fps=10, features=FEATURES)
    with contextlib.suppress(KeyboardInterrupt), writer:
        writer.add_episode(episode(3), "task")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "dataset", [3])

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer_module, "move_into_place", refuse)
    writer = LeRobotWriter.append(root)
    writer.add_episode(episode(4), "task")
    with pytest.raises(StorageError) as caught:
        writer.close()
    assert str(caught.value) == (
        f"{root}: cannot be written: No space left on device; finished episodes are intact"
    )
    assert open_metadata(root).episodes.length.tolist() == [3]


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from experiments_il.data import durable
from experiments_il.data.writer import LeRobotWriter

root, calls_left = Path(sys.argv[1]), int(sys.argv[2])
real_replace = os.replace

def replace(source, target):
    global calls_left
    if calls_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    calls_left -= 1
    real_replace(source, target)

durable.os.replace = replace
features = {"action": {"dtype": "float32", "shape": [2]}}
is_new = not (root / "meta/info.json").exists()
create = lambda: LeRobotWriter.create(root, fps=10, features=features, data_file_mb=1e-6)
with create() if is_new else LeRobotWriter.append(root) as writer:
    for length in (2, 4):
        writer.add_episode({"action": np.full((length, 2), 9.0)}, "new task")
"""


def run_killed(root: Path, replacements: int) -> None:
    """Run a writer that is killed before its next renaming after some."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(root), str(replacements)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("replacements", range(6))
def test_killed_append_leaves_the_old_data_and_room_for_more(
    tmp_path: Path, replacements: int
) -> None:
    root = write(tmp_path, [3], data_file_mb=1e-6)
    run_killed(root, replacements)
    assert open_metadata(root).episodes.length.tolist() == [3]
    assert ColumnStore(open_lerobot(root)).numbers("action")[:, 0].tolist() == [0, 1, 2]
    with LeRobotWriter.append(root) as writer:
        writer.add_episode(episode(1, start=7), "later")
    metadata = open_metadata(root)
    assert ColumnStore(LeRobotSource(metadata)).numbers("action")[:, 0].tolist() == [0, 1, 2, 7]
    named = {file.path for file in metadata.data_files}
    assert set((root / "data").rglob("*.parquet")) == named
    assert not list(root.glob(".writing-*"))


@pytest.mark.parametrize("replacements", [0, 4])
def test_killed_recording_is_no_data_set(tmp_path: Path, replacements: int) -> None:
    run_killed(tmp_path, replacements)
    with pytest.raises(DatasetError, match="or its recording never ended"):
        open_metadata(tmp_path)


def test_only_one_process_writes(tmp_path: Path) -> None:
    root = write(tmp_path, [3])
    writer = LeRobotWriter.append(root)
    with pytest.raises(DatasetError) as caught:
        LeRobotWriter.append(root)
    writer.discard()
    assert str(caught.value) == (
        f"{root}/.writing-{os.getpid()}: process {os.getpid()} is writing this data set"
    )


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "no features; name the features that episodes bring"),
        (
            {"index": {"dtype": "int64", "shape": [1]}},
            "'index' is written by itself; name the features that episodes bring",
        ),
    ],
)
def test_features_must_be_the_users(
    tmp_path: Path, features: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        LeRobotWriter.create(tmp_path, fps=10, features=features)
    assert str(caught.value) == f"{tmp_path}: {message}"


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError) as caught:
        LeRobotWriter.create(tmp_path, fps=10, features=FEATURES)
    assert str(caught.value) == f"{tmp_path}: already exists and is not empty"


def test_data_set_without_episodes_is_refused(tmp_path: Path) -> None:
    writer = LeRobotWriter.create(tmp_path / "dataset", fps=10, features=FEATURES)
    with pytest.raises(DatasetError) as caught:
        writer.close()
    assert str(caught.value) == f"{tmp_path}/dataset: a data set needs at least one episode"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames", "task", "message"),
    [
        ({}, "t", "an episode needs 'action'"),
        (
            {"actoin": np.zeros((3, 2))},
            "t",
            "the data set has no feature 'actoin'; did you mean 'action'?",
        ),
        ({"action": np.zeros((3, 3))}, "t", "'action' has shape [3, 3], expected [frames, 2]"),
        ({"action": np.zeros((3, 2), complex)}, "t", "'action' holds complex128, declared float32"),
        ({"action": np.full((3, 2), np.nan)}, "t", "'action' is not finite at frame 0"),
        (
            {"action": np.zeros((0, 2))},
            "t",
            "an episode needs the same number of frames (at least 1) of each: {'action': 0}",
        ),
        (
            {"action": np.zeros((3, 2))},
            ["t"],
            "an episode of 3 frames needs as many tasks, found 1",
        ),
    ],
)
def test_wrong_episode_is_refused_and_the_others_kept(
    tmp_path: Path, frames: dict[str, Any], task: Any, message: str
) -> None:
    with LeRobotWriter.create(tmp_path, fps=10, features=FEATURES) as writer:
        writer.add_episode(episode(2), "t")
        with pytest.raises(DatasetError) as caught:
            writer.add_episode(frames, task)
        writer.add_episode(episode(1), ["t"])
    assert str(caught.value) == message
    assert open_metadata(tmp_path).episodes.length.tolist() == [2, 1]


def test_tasks_may_change_within_an_episode(tmp_path: Path) -> None:
    with LeRobotWriter.create(tmp_path, fps=10, features=FEATURES) as writer:
        writer.add_episode(episode(3), ["öffnen", "öffnen", "schließen"])
    metadata = open_metadata(tmp_path)
    assert metadata.tasks == ("öffnen", "schließen")
    assert ColumnStore(LeRobotSource(metadata)).numbers("task_index").tolist() == [0, 0, 1]


def test_quantiles_of_the_whole_set_are_exact(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    parts = [random.standard_normal((n, 2)).astype(np.float32) for n in (7, 30, 1)]
    with LeRobotWriter.create(tmp_path, fps=10, features=FEATURES, data_file_mb=1e-6) as writer:
        for part in parts:
            writer.add_episode({"action": part}, "t")
    statistics = open_metadata(tmp_path).stats["action"]
    wanted = np.quantile(np.concatenate(parts).astype(np.float64), [0.01, 0.5, 0.99], axis=0)
    found = [statistics[name] for name in ("q01", "q50", "q99")]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_frame_times_follow_the_rate(tmp_path: Path) -> None:
    with LeRobotWriter.create(tmp_path, fps=29.97, features=FEATURES) as writer:
        writer.add_episode(episode(3), "t")
    times = ColumnStore(open_lerobot(tmp_path)).numbers("timestamp")
    np.testing.assert_array_equal(times, (np.arange(3) / 29.97).astype(np.float32))
