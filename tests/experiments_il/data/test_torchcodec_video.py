"""The second decoder gives the frames of the first, and says why when it cannot be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.experiments_il.data.test_video import KEY, SAMPLE, describe, video_path, write_mp4

from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.torchcodec_video import import_torchcodec
from experiments_il.data.video import VideoFrames
from trainer_core.errors import DatasetError, UserError

if TYPE_CHECKING:
    from pathlib import Path


def is_loadable() -> bool:
    try:
        import_torchcodec()
    except UserError:
        return False
    return True


CAN_LOAD = is_loadable()


def test_both_decoders_give_the_same_frames() -> None:
    metadata = open_lerobot(SAMPLE).metadata
    rows = np.random.default_rng(0).integers(0, 122, (15, 2))
    for key in metadata.episodes.videos:
        expected = VideoFrames(metadata, key, "pyav").gather(rows)
        if CAN_LOAD:
            found = VideoFrames(metadata, key, "torchcodec").gather(rows)
            np.testing.assert_array_equal(found, expected)
        else:
            with pytest.raises(UserError, match="is installed and cannot be loaded"):
                VideoFrames(metadata, key, "torchcodec")


@pytest.mark.parametrize("decoder", ["pyav", "torchcodec"] if CAN_LOAD else ["pyav"])
def test_uneven_times_are_found_and_missing_ones_named(tmp_path: Path, decoder: str) -> None:
    wanted = write_mp4(video_path(tmp_path), [*range(10), *range(11, 20)])
    frames = VideoFrames(describe(tmp_path, [8, 12]), KEY, decoder)
    found = frames.gather(np.array([9, 11, 19]))
    expected = np.stack([wanted[number] for number in (9, 10, 18)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(DatasetError) as caught:
        frames.gather(np.array([9, 10]))
    assert str(caught.value) == (
        f"{video_path(tmp_path)}: no frame at 0.5000 s for episode 1, frame 2; "
        "the nearest is at 0.4500 s"
    )


@pytest.mark.parametrize("decoder", ["pyav", "torchcodec"] if CAN_LOAD else ["pyav"])
def test_damaged_stream_names_episode_frame_and_time(tmp_path: Path, decoder: str) -> None:
    write_mp4(video_path(tmp_path), list(range(20)))
    data = bytearray(video_path(tmp_path).read_bytes())
    middle = data.index(b"mdat") + 4
    data[middle + 900 :] = data[middle + 900 :].replace(b"\x00\x00", b"\xff\xff")
    content = bytes(data[: len(data) * 2 // 3]) + b"\xff" * (len(data) - len(data) * 2 // 3)
    video_path(tmp_path).write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        VideoFrames(describe(tmp_path, [20]), KEY, decoder).gather(np.arange(20))
    assert str(caught.value).startswith(str(video_path(tmp_path)))


def test_identity_names_decoder_and_files(tmp_path: Path) -> None:
    write_mp4(video_path(tmp_path), [0, 1])
    frames = VideoFrames(describe(tmp_path, [2]), KEY)
    before = frames.identity()
    assert str(before[0]).startswith("pyav ")
    os.utime(video_path(tmp_path), ns=(0, 0))
    assert frames.identity() != before
    video_path(tmp_path).unlink()
    with pytest.raises(DatasetError, match="missing; the data set's metadata names this file"):
        frames.identity()


def test_broken_torchcodec_is_named_with_its_reason(tmp_path: Path) -> None:
    package = tmp_path / "torchcodec/decoders"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("raise RuntimeError('Could not load libtorchcodec')")
    code = (
        "from experiments_il.data.torchcodec_video import import_torchcodec\n"
        "try: import_torchcodec()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert answer.stdout == (
        "UserError decoder: torchcodec is installed and cannot be loaded:\n"
        "  Could not load libtorchcodec\n"
        "  it needs FFmpeg 4 to 8 as shared libraries (apt-get install ffmpeg) and the torch it "
        "was built for; decoder: pyav brings its own\n"
    )
