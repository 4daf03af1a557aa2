"""Depth videos are read as float32 metres, in the precision of their 12-bit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch

from experiments_il.data.depth import DepthRange, decode_table, depth_codes, read_depth_range
from experiments_il.data.export import export
from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.fault_finding import find_faults
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.writer import LeRobotWriter
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "observation.images.depth"
VIDEO = f"videos/{KEY}/chunk-000/file-000.mp4"
RANGE = DepthRange(min_m=0.2, max_m=4.0)


def frames(length: int, seed: int) -> Any:
    return np.random.default_rng(seed).uniform(0.2, 4.0, (length, 32, 48, 1)).astype(np.float32)


def write(root: Path) -> Path:
    features: dict[str, dict[str, Any]] = {
        "action": {"dtype": "float32", "shape": [2]},
        KEY: {"dtype": "video", "shape": [32, 48, 1], "info": RANGE.to_json()},
    }
    with LeRobotWriter.create(root, fps=10, features=features) as writer:
        for seed, length in enumerate((4, 3)):
            action = np.arange(2.0 * length, dtype=np.float32).reshape(length, 2)
            writer.add_episode({"action": action, KEY: frames(length, seed)}, "reach")
    return root


def test_depth_arrives_in_metres_with_windows(tmp_path: Path) -> None:
    factory = LeRobotFactory(str(write(tmp_path / "set")), windows={KEY: [-1, 1]})
    dataset = factory.build({}, {})["dataset"]
    batch = dataset.__getitems__(range(7))[KEY]
    expected = np.concatenate([frames(4, 0), frames(3, 1)]).transpose(0, 3, 1, 2)
    assert (batch.dtype, tuple(batch.shape)) == (torch.float32, (7, 2, 1, 32, 48))
    coarsest = np.diff(decode_table(RANGE)).max()
    assert np.abs(batch[:, 1].numpy() - expected).max() <= coarsest / 2 + 1e-6
    torch.testing.assert_close(batch[4, 0], batch[4, 1], rtol=0, atol=0)
    described = factory.describe_batch(2)
    assert described is not None
    assert (described[KEY].dtype, described[KEY].shape) == (torch.float32, (2, 2, 1, 32, 48))


def test_codes_follow_the_formula_of_the_format() -> None:
    metres = np.array([0.0, 0.01, 1.0, 10.0, 99.0])
    low, high = np.log(0.01 + 3.5), np.log(10 + 3.5)
    middle = round(4095 * (np.log(1 + 3.5) - low) / (high - low))
    assert depth_codes(metres, DepthRange()).tolist() == [0, 0, middle, 4095, 4095]
    linear = DepthRange(0.0, 4.095, 0.0, is_log=False)
    assert depth_codes(np.array([0.001, 1.0]), linear).tolist() == [1, 1000]
    np.testing.assert_allclose(decode_table(linear)[[1, 1000]], [0.001, 1.0], rtol=1e-6)


@pytest.mark.parametrize("is_log", [True, False])
def test_every_code_survives_the_way_to_metres_and_back(is_log: bool) -> None:
    depth = DepthRange(is_log=is_log)
    assert depth_codes(decode_table(depth), depth).tolist() == list(range(4096))


def test_statistics_and_details_are_recorded_in_metres(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    info = json.loads((root / "meta/info.json").read_text())["features"][KEY]["info"]
    assert (info["video.codec"], info["video.pix_fmt"]) == ("hevc", "gray12le")
    assert (info["is_depth_map"], info["video.depth_max"]) == (True, 4.0)
    stats = json.loads((root / "meta/stats.json").read_text())[KEY]
    assert np.shape(stats["mean"]) == (1, 1, 1)
    assert 0.2 <= stats["min"][0][0][0] < stats["max"][0][0][0] <= 4.0
    assert find_faults(root) == []


def test_depth_is_converted_and_comes_back(tmp_path: Path) -> None:
    source = open_lerobot(write(tmp_path / "set"))
    export(source, tmp_path / "again", "lerobot")
    rows = np.arange(7)
    again = open_lerobot(tmp_path / "again")
    np.testing.assert_array_equal(
        again.open_video(KEY).gather(rows), source.open_video(KEY).gather(rows)
    )


def test_video_without_codes_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    with av.open(str(root / VIDEO), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(7):
            picture = np.zeros((32, 48, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with pytest.raises(DatasetError) as caught:
        open_lerobot(root).open_video(KEY).gather(np.arange(2))
    assert str(caught.value) == f"{root / VIDEO}: frames are yuv420p; depth is gray12le"


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"video.depth_min": "near"}, "camera 'd': 'video.depth_min' must be a number, found 'n"),
        ({"video.depth_max": 0.0}, "camera 'd': depths from 0.01 to 0 m with a shift of 3.5 m ar"),
    ],
)
def test_ranges_that_are_none_are_said(info: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_depth_range("d", {"is_depth_map": True, **info})
    assert str(caught.value).startswith(message)
    assert read_depth_range("d", {"is_depth_map": False}) is None


@pytest.mark.parametrize("shape", [[15, 48, 1], [32, 8, 1]])
def test_pictures_too_small_for_the_encoder_of_depth_are_refused(
    tmp_path: Path, shape: list[int]
) -> None:
    features = {KEY: {"dtype": "video", "shape": shape, "info": RANGE.to_json()}}
    with (
        pytest.raises(DatasetError) as caught,
        LeRobotWriter.create(tmp_path / "set", fps=10, features=features) as writer,
    ):
        writer.add_episode({KEY: np.ones((2, *shape), np.float32)}, "reach")
    assert str(caught.value) == (
        f"'{KEY}' has frames of {shape[0]}x{shape[1]}; a depth video needs at least 16 pixels on "
        "each side, for that is what its encoder takes"
    )
