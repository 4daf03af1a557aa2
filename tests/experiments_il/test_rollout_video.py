"""Rollout videos: every frame is there, or there is no file."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from experiments_il.sim.video import write_video
from trainer_core.errors import MissingPackageError


def test_written_frames_come_back(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 40 * k, dtype=np.uint8) for k in range(6)]
    write_video(tmp_path / "a.mp4", frames, fps=10)
    with av.open(str(tmp_path / "a.mp4")) as video:
        read = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert all(np.abs(a.astype(int) - b).max() < 8 for a, b in zip(read, frames, strict=True))


def test_failed_video_leaves_nothing(tmp_path: Path) -> None:
    frames = [np.zeros((32, 48, 3), dtype=np.uint8), np.zeros((2, 2), dtype=np.uint8)]
    with pytest.raises(ValueError, match=r".*"):
        write_video(tmp_path / "a.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def test_missing_encoder_names_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'experiments-il\[video\]'$"):
        write_video(tmp_path / "a.mp4", [np.zeros((32, 48, 3), dtype=np.uint8)])
