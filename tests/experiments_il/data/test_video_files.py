"""Cameras recorded as mp4 are read back within the codec's rounding, at every episode's edges."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.dataset import WindowDataset
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.writer import LeRobotWriter
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CAMERA = "observation.images.top"
SIZE = (64, 96, 3)
LEVEL = 9  # how far codecs may be off; neighbouring frames differ by twice as much


def pictures(first: int, length: int) -> NDArray[np.uint8]:
    """Return frames whose brightness says which they are, with a bright half."""
    frames = np.zeros((length, *SIZE), np.uint8)
    frames[:, :, :48] = (20 * (np.arange(first, first + length) % 12))[:, None, None, None]
    frames[:, :, 48:, 0] = 200
    return frames


def record(writer: LeRobotWriter, first: int, lengths: tuple[int, ...]) -> None:
    with writer:
        for length in lengths:
            action = np.arange(first, first + length, dtype=np.float32)
            writer.add_episode({"action": action, CAMERA: pictures(first, length)}, "look")
            first += length


def create(root: Path, lengths: tuple[int, ...] = (5, 1, 8), **options: Any) -> Path:
    features = {
        "action": {"dtype": "float32", "shape": [1]},
        CAMERA: {"dtype": "video", "shape": list(SIZE)},
    }
    fps = options.pop("fps", 20)
    record(LeRobotWriter.create(root, fps=fps, features=features, **options), 0, lengths)
    return root


def read(root: Path, rows: range) -> NDArray[np.uint8]:
    dataset = WindowDataset(ColumnStore(open_lerobot(root)), keys=[CAMERA])
    return np.asarray(dataset.__getitems__(rows)[CAMERA].permute(0, 2, 3, 1))


def assert_recorded(root: Path, frames: int) -> None:
    found = read(root, range(frames)).astype(int)
    assert np.abs(found - pictures(0, frames)).mean(axis=(1, 2, 3)).max() <= LEVEL


@pytest.mark.parametrize("options", [{}, {"video_codec": "av1"}, {"fps": 12.5}])
def test_videos_are_read_back(tmp_path: Path, options: dict[str, Any]) -> None:
    root = create(tmp_path / "set", **options)
    assert_recorded(root, 14)
    assert len(list(root.glob("videos/*/*/*.mp4"))) == 1


def test_episode_that_does_not_fit_begins_a_file(tmp_path: Path) -> None:
    root = create(tmp_path / "set", video_file_mb=1e-6)
    assert len(list(root.glob("videos/*/*/*.mp4"))) == 3
    assert_recorded(root, 14)


def test_appended_episodes_go_to_new_files(tmp_path: Path) -> None:
    root = create(tmp_path / "set")
    record(LeRobotWriter.append(root), 14, (4, 3))
    assert [path.name for path in sorted(root.glob("videos/*/*/*.mp4"))] == [
        "file-000.mp4",
        "file-001.mp4",
    ]
    assert_recorded(root, 21)


def test_frames_are_copied_and_not_encoded_again(tmp_path: Path) -> None:
    one = read(create(tmp_path / "one", video_file_mb=1e-6), range(14))
    together = read(create(tmp_path / "together"), range(14))
    np.testing.assert_array_equal(one, together)


def test_files_are_declared_as_lerobot_declares_them(tmp_path: Path) -> None:
    metadata = open_lerobot(create(tmp_path / "set")).metadata
    details = metadata.info.raw["features"][CAMERA]["info"]
    assert (details["video.codec"], details["video.fps"]) == ("h264", 20)
    statistics = metadata.stats[CAMERA]
    assert np.shape(statistics["mean"]) == (3, 1, 1)
    assert statistics["max"][0] == [[pytest.approx(220 / 255)]]
    with av.open(str(metadata.video_path(CAMERA, 0, 0))) as container:
        times = [frame.pts * float(frame.time_base) for frame in container.decode(video=0)]  # type: ignore[operator, arg-type]
    np.testing.assert_allclose(times, np.arange(14) / 20, atol=1e-6)


def test_odd_frames_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    features = {CAMERA: {"dtype": "video", "shape": [63, 96, 3]}}
    with pytest.raises(DatasetError) as caught:
        LeRobotWriter.create(tmp_path / "set", fps=20, features=features)
    assert str(caught.value) == (
        f"'{CAMERA}' has frames of 63x96x3; a video needs even sides and 3 channels: "
        "record it as images, or crop it"
    )
    assert not (tmp_path / "set").exists()


def test_discarded_recording_leaves_nothing(tmp_path: Path) -> None:
    root = create(tmp_path / "set")
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    writer = LeRobotWriter.append(root)
    writer.add_episode({"action": np.zeros(2, np.float32), CAMERA: pictures(0, 2)}, "look")
    writer.discard()
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before


def test_encoding_leaves_the_scheduling_of_the_process_as_it_was(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    create(tmp_path / "set", video_codec="av1")
    assert os.sched_getscheduler(0) == before
