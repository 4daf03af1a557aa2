from __future__ import annotations

import json
import multiprocessing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from experiments_il.data.episodes import LeRobotEpisodes, VideoPlaces
from experiments_il.data.lerobot_format import parse_info
from experiments_il.data.lerobot_metadata import LeRobotMetadata
from experiments_il.data.pyav_video import PyavFile
from experiments_il.data.video import VideoFrames
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from numpy.typing import NDArray

SAMPLE = Path(__file__).parents[2] / "data/lerobot_v3_video/dataset"
KEY = "observation.images.front"
FPS = 20


def write_mp4(path: Path, pts: list[int]) -> list[NDArray[np.uint8]]:
    """Write frames at times pts / FPS with B-frames; return them decoded in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "6", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, time in enumerate(pts):
            picture = np.full((48, 64, 3), 9 * number % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return [np.asarray(frame, np.uint8) for frame in frames]


def describe(root: Path, lengths: list[int], **details: Any) -> LeRobotMetadata:
    """Return the metadata of a data set with one camera whose episodes share one file."""
    info = json.loads((SAMPLE / "meta/info.json").read_text())
    info["features"] = {name: spec for name, spec in info["features"].items() if "." not in name}
    info["features"][KEY] = {"dtype": "video", "shape": [48, 64, 3], "info": details}
    stop = np.cumsum(lengths)
    start = stop - np.array(lengths)
    zeros = np.zeros(len(lengths), np.int64)
    places = {KEY: VideoPlaces(zeros, zeros.copy(), start / FPS)}
    return LeRobotMetadata(
        root,
        parse_info(info),
        LeRobotEpisodes(start, stop, chunk=zeros, file=zeros, videos=places),
        (),
    )


def video_path(root: Path) -> Path:
    return root / f"videos/{KEY}/chunk-000/file-000.mp4"


def test_random_access_equals_sequential_decoding(tmp_path: Path) -> None:
    wanted = write_mp4(video_path(tmp_path), list(range(30)))
    frames = VideoFrames(describe(tmp_path, [12, 18]), KEY)
    random = np.random.default_rng(0)
    for _ in range(5):
        rows = random.integers(0, 30, (4, 3))
        expected = np.stack([wanted[row] for row in rows.ravel()]).reshape(4, 3, 48, 64, 3)
        np.testing.assert_array_equal(frames.gather(rows), expected.transpose(0, 1, 4, 2, 3))


@pytest.mark.parametrize(
    "size", [(64, 48), (96, 96), (320, 240), (84, 84), (322, 50), (40, 30), (104, 96), (424, 240)]
)
def test_frames_equal_those_of_packed_pixels(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    path = tmp_path / "noise.mp4"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(3):
            picture = random.integers(0, 256, (height, width, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = PyavFile(path)
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            found = video.read(number / FPS, (3, height, width), np.uint8, "")
            expected = frame.to_ndarray(format="rgb24").transpose(2, 0, 1)
            np.testing.assert_array_equal(found, expected)
    video.close()


def test_missing_frame_names_file_episode_and_times(tmp_path: Path) -> None:
    write_mp4(video_path(tmp_path), [*range(10), *range(11, 20)])
    frames = VideoFrames(describe(tmp_path, [8, 12]), KEY)
    frames.gather(np.array([9, 11]))
    with pytest.raises(DatasetError) as caught:
        frames.gather(np.array([9, 10]))
    assert str(caught.value) == (
        f"{video_path(tmp_path)}: no frame at 0.5000 s for episode 1, frame 2; "
        "the nearest is at 0.4500 s"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing; the data set's metadata names this file"),
        (b"", "cannot be read as a video: "),
        (b"no video", "cannot be read as a video: "),
    ],
)
def test_unreadable_video_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = video_path(tmp_path)
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        VideoFrames(describe(tmp_path, [5]), KEY).gather(np.array([0]))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    write_mp4(video_path(tmp_path), [0, 1])
    metadata = describe(tmp_path, [2])
    spec = metadata.info.raw["features"] | {KEY: {"dtype": "video", "shape": [24, 64, 3]}}
    other = LeRobotMetadata(
        tmp_path, parse_info(metadata.info.raw | {"features": spec}), metadata.episodes, ()
    )
    with pytest.raises(DatasetError, match=r"frames are \(3, 48, 64\) \(C, H, W\), declared "):
        VideoFrames(other, KEY).gather(np.array([0]))


def test_depth_video_of_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        describe(tmp_path, [5], is_depth_map=True)
    assert str(caught.value) == f"camera '{KEY}' records depth in 3 channels, expected 1"


def _gather_in_child(frames: VideoFrames, answers: Queue[Any]) -> None:
    answers.put(frames.gather(np.array([7, 2])))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_process_reads_after_the_parent(tmp_path: Path, method: str) -> None:
    write_mp4(video_path(tmp_path), list(range(10)))
    frames = VideoFrames(describe(tmp_path, [10]), KEY)
    wanted = frames.gather(np.array([7, 2]))
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(target=_gather_in_child, args=(frames, answers))
    child.start()
    found = answers.get(timeout=60)
    child.join()
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(frames.gather(np.array([7, 2])), wanted)


def test_number_of_open_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments_il.data.video._MAX_OPEN_FILES", 2)
    metadata = describe(tmp_path, [2] * 5)
    metadata.episodes.videos[KEY].file[:] = range(5)
    metadata.episodes.videos[KEY].from_s[:] = 0
    for number in range(5):
        write_mp4(metadata.video_path(KEY, 0, number), [0, 1])
    frames = VideoFrames(metadata, KEY)
    frames.gather(np.arange(10))
    assert len(frames._files) == 2
