from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from experiments_il.data.file_factories import ZarrReplayFactory
from experiments_il.data.zarr_layout import describe
from experiments_il.data.zarr_replay import import_zarr
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LEVELS = np.arange(5, dtype=np.float32)[:, None, None, None] + np.zeros((5, 4, 6, 3), np.float32)


def write_store(path: Path, ends: Sequence[int] = (2, 5), **arrays: NDArray[Any]) -> Path:
    group = import_zarr().open_group(path, mode="w", zarr_format=2)
    for name, values in {"action": np.zeros((5, 2), np.float32), **arrays}.items():
        group.create_array(f"data/{name}", data=values)
    group.create_array("meta/episode_ends", data=np.asarray(ends, np.int64))
    return path


def build(path: Path, **parameters: Any) -> Any:
    return ZarrReplayFactory(str(path), fps=10, **parameters).build({}, {})["dataset"]


@pytest.mark.parametrize(
    ("frames", "levels"),
    [(LEVELS * 60, [0, 60, 120, 180, 240]), (LEVELS / 4, [0, 64, 128, 191, 255])],
)
def test_float_images_are_scaled_by_their_range(
    tmp_path: Path, frames: NDArray[np.float32], levels: list[int]
) -> None:
    dataset = build(write_store(tmp_path / "replay", img=frames))
    found = dataset.__getitems__(range(5))["observation.images.img"]
    assert found[:, 0, 0, 0].tolist() == levels


def test_dark_first_frames_are_not_taken_for_fractions(tmp_path: Path) -> None:
    frames = np.zeros((200, 4, 6, 3), np.float32)
    frames[1], frames[-1] = 1, 200
    path = write_store(tmp_path / "replay", [200], img=frames, action=np.zeros((200, 2)))
    found = build(path).__getitems__([1, 199])["observation.images.img"]
    assert found[:, 0, 0, 0].tolist() == [1, 200]


def test_image_out_of_range_is_placed(tmp_path: Path) -> None:
    path = write_store(tmp_path / "replay", img=LEVELS * 100)
    with pytest.raises(DatasetError) as caught:
        build(path)
    assert str(caught.value) == (
        f"{path}: 'observation.images.img' leaves the range 0 to 255 at episode 1, frame 1"
    )


@pytest.mark.parametrize(
    ("ends", "arrays", "message"),
    [
        ((2, 4), {}, "meta/episode_ends says 4 frames, data/action has 5"),
        ((2, 2, 5), {}, "meta/episode_ends: episode 1 has no frames"),
        ((), {}, "meta/episode_ends: there are no episodes"),
        ((5,), {"state": np.zeros((4, 1))}, "data/state has 4 frames, data/action 5"),
    ],
)
def test_store_that_does_not_add_up_is_said(
    tmp_path: Path, ends: tuple[int, ...], arrays: dict[str, Any], message: str
) -> None:
    path = write_store(tmp_path / "replay", ends, **arrays)
    with pytest.raises(DatasetError) as caught:
        build(path)
    assert str(caught.value) == f"{path}: {message}"


def test_folder_without_episodes_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        build(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: has no meta/episode_ends: not a zarr store of episodes as "
        "diffusion_policy writes"
    )


def test_key_that_the_store_lacks_is_reported_before_training(tmp_path: Path) -> None:
    path = write_store(tmp_path / "replay", state=np.zeros((5, 3)))
    found: list[Any] = []
    parameters = {"path": str(path), "windows": {"acton": [0, 4]}}
    assert describe(parameters, lambda *said: found.append(said)) is None
    assert [said[:2] for said in found] == [
        (("windows", "acton"), "the data set has no key 'acton'")
    ]
