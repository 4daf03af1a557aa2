"""Data sets are shown to people: pages of plots, grids of episodes."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import Image
from tests.experiments_il.data.damaged import LENGTHS, TOP, write_healthy

from experiments_il.commands.data import main
from experiments_il.commands.episode_tiles import Grid, episode_tiles
from experiments_il.commands.info import _strip
from experiments_il.data.formats import open_any
from experiments_il.data.pictures import CameraPictures
from experiments_il.data.writer import LeRobotWriter
from trainer_core import cli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_healthy(tmp_path_factory.mktemp("cameras") / "set", "video")


def embedded(page: Path, kind: str) -> list[bytes]:
    found = re.findall(rf"data:{kind};base64,([A-Za-z0-9+/=]+)", page.read_text())
    return [base64.b64decode(each) for each in found]


def frames(content: bytes) -> list[tuple[int, int]]:
    with av.open(io.BytesIO(content), "r") as container:
        return [(frame.height, frame.width) for frame in container.decode(video=0)]


def test_plots_become_one_picture_or_one_page(
    cameras: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(cameras), "--plot", str(tmp_path / "a.html")]) == 0
    (picture,) = embedded(tmp_path / "a.html", "image/png")
    assert capsys.readouterr().out.endswith(f"\n{tmp_path}/a.html: written\n")
    page = (tmp_path / "a.html").read_text()
    assert "://" not in page  # it loads nothing; four letters may occur in base64
    assert "3 episodes of 10 to 14 frames" in page
    width, height = Image.open(io.BytesIO(picture)).size
    assert width == 960
    assert height > 1000


def test_strip_shows_the_first_episode_from_end_to_end(cameras: Path) -> None:
    strip = _strip(open_any(cameras), TOP)
    assert [time for time, _picture in strip][:: len(strip) - 1] == [0.0, (LENGTHS[0] - 1) / 10]
    assert {picture.shape for _time, picture in strip} == {(8, 8, 3)}


def test_episodes_become_a_grid_of_all_cameras(
    cameras: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "grid.mp4"
    command = ["view", str(cameras), "--out", str(out), "--height", "16", "--episodes", "2", "0"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{out}: 2 of 3 episodes\n"
    assert frames(out.read_bytes()) == [(30, 64)] * LENGTHS[2]


def test_page_has_a_video_of_each_episode(cameras: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.html"
    assert main(["view", str(cameras), "--out", str(out), "--height", "16", "--cameras", TOP]) == 0
    assert [len(frames(each)) for each in embedded(out, "video/mp4")] == list(LENGTHS)
    assert "episode 1: reach (10 frames, 1.0 s)" in out.read_text()


def test_pictures_of_every_format_are_those_of_the_recording(tmp_path: Path) -> None:
    recording = CameraPictures(open_any(write_healthy(tmp_path / "set")), TOP)
    for kind in ("robomimic", "aloha", "zarr"):
        path = write_healthy(tmp_path / (f"{kind}.hdf5" if kind == "robomimic" else kind), kind)
        other = CameraPictures(open_any(path, fps=10), TOP)
        for row in (0, 13, 35):
            np.testing.assert_array_equal(other.at(row), recording.at(row))


@pytest.mark.parametrize("width", [2, 39])
def test_sets_without_cameras_are_drawn(tmp_path: Path, width: int) -> None:
    features = {
        "observation.state": {"dtype": "float32", "shape": [width]},
        "action": {"dtype": "float32", "shape": [2]},
    }
    with LeRobotWriter.create(tmp_path / "set", fps=10, features=features) as writer:
        for length in (2, 4):
            state = np.linspace(0, 0.4, length * width, dtype=np.float32).reshape(length, width)
            writer.add_episode({"observation.state": state, "action": state[:, :2]}, "reach")
    done: list[int] = []
    grid = Grid(episode_tiles(open_any(tmp_path / "set"), [0, 1], [], 48), done.append)
    pictures = list(grid)
    assert len(pictures) == 4
    assert done == [2, 4, 5, 6]
    left = slice(0, pictures[0].shape[1] // 2)
    assert (pictures[3][:, left] == pictures[1][:, left] // 2).all()
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "a.gif"], "a.gif: expected a name that ends in .mp4 or .html"),
        (["--out", "a.mp4", "--episodes", "3"], "no episode 3; the data set has episodes 0 to 2"),
        (["--out", "a.mp4", "--cameras", "tip"], "no camera 'tip'; it has observation.images."),
        (["--out", "a.mp4", "--height", "2"], "--height must be at least 16 pixels, got 2"),
        (["--out", "no/a.mp4"], "no such folder"),
    ],
)
def test_what_cannot_be_shown_exits_with_two(
    cameras: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "view", str(cameras), *options]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
