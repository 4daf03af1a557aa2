from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from PIL import Image

from experiments_il.data.file_factories import EpisodicHdf5Factory
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path


def jpeg(color: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 8), color).save(stream, format="JPEG", quality=100)
    return stream.getvalue()


def write_episode(folder: Path, number: int, length: int = 3, *, frames: int | None = None) -> Path:
    """Write an episode with a JPEG camera: red in the first frame, blue in the others."""
    path = folder / f"episode_{number}.hdf5"
    blobs = [jpeg((255, 0, 0) if frame == 0 else (0, 0, 255)) for frame in range(length)]
    padded = np.zeros((length, max(map(len, blobs)) + 7), np.uint8)
    for row, blob in enumerate(blobs):
        padded[row, : len(blob)] = list(blob)
    with h5py.File(path, "w") as file:
        file.attrs["compress"] = True
        file["action"] = np.full((length, 2), number, np.float32)
        file["observations/qpos"] = np.zeros((length if frames is None else frames, 2), np.float32)
        file["observations/qvel"] = np.ones((length, 2), np.float32)
        file["observations/images/top"] = padded
        file["compress_len"] = np.array([[len(blob) for blob in blobs]])
    return path


def build(folder: Path, **parameters: Any) -> Any:
    return EpisodicHdf5Factory(str(folder), fps=50, **parameters).build({}, {})["dataset"]


def test_episodes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9):
        write_episode(tmp_path, number)
    batch = build(tmp_path).__getitems__([0, 3])
    assert batch["action"][:, 0].tolist() == [9, 10]
    assert batch["observation.velocity"].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(("colors", "red"), [("rgb", 0), ("bgr", 2)])
def test_padded_jpeg_frames_are_decoded(tmp_path: Path, colors: Any, red: int) -> None:
    write_episode(tmp_path, 0)
    frames = build(tmp_path, jpeg_colors=colors).__getitems__([0, 1])["observation.images.top"]
    assert frames.shape == (2, 3, 8, 16)
    assert frames[0, :, 0, 0].argmax() == red
    assert frames[1, :, 0, 0].argmax() == 2 - red


def test_joint_positions_and_velocities_make_the_state(tmp_path: Path) -> None:
    write_episode(tmp_path, 0)
    dataset = build(tmp_path, state=["qpos", "qvel"], task="insert the battery")
    assert dataset[0]["observation.state"].tolist() == [0, 0, 1, 1]
    assert dataset.tasks == ("insert the battery",)


def test_frame_that_is_no_image_is_placed(tmp_path: Path) -> None:
    path = write_episode(tmp_path, 0)
    with h5py.File(path, "r+") as file:
        file["observations/images/top"][2] = 7
    with pytest.raises(DatasetError) as caught:
        build(tmp_path)
    where = f"{tmp_path}: 'observation.images.top' at episode 0 (episode_0.hdf5), frame 2"
    assert str(caught.value).startswith(f"{where}: the image cannot be decoded: ")


def test_array_of_another_length_is_named(tmp_path: Path) -> None:
    write_episode(tmp_path, 0)
    path = write_episode(tmp_path, 1, length=4, frames=3)
    with pytest.raises(DatasetError) as caught:
        build(tmp_path)
    assert str(caught.value) == (f"{path}: 'observations/qpos' has shape [3, 2], expected [4, 2]")


def test_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        build(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no episodes (episode_0.hdf5, ...) in this folder"
