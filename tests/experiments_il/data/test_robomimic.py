from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from experiments_il.data.file_factories import RobomimicFactory
from experiments_il.data.robomimic import open_robomimic
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_demos(path: Path, lengths: tuple[int, ...] = (2, 3, 4), rate: float | None = 20) -> Path:
    """Write demonstrations whose `obs/pose` is [demo, frame], numbered from 9 on."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        kwargs = {} if rate is None else {"control_freq": rate}
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": kwargs})
        for number, length in enumerate(lengths, start=9):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length
            demo["actions"] = np.zeros((length, 2))
            demo["dones"] = np.arange(length) == length - 1
            demo["obs/pose"] = [[number, frame] for frame in range(length)]
            demo["obs/eye_image"] = np.full((length, 4, 6, 3), number, np.uint8)
        file["mask/valid"] = np.array([b"demo_10", b"demo_9"], dtype="S")
        file["mask/lost"] = np.array([b"demo_99"], dtype="S")
    return path


def build(path: Path, **parameters: Any) -> Any:
    return RobomimicFactory(str(path), **parameters).build({}, {})["dataset"]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def test_demonstrations_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    dataset = build(write_demos(tmp_path / "demos.hdf5"))
    assert dataset.__getitems__(range(9))["observation.pose"][:, 0].tolist() == [
        *[9, 9, 10, 10, 10],
        *[11] * 4,
    ]
    assert (dataset.fps, dataset.tasks) == (20, ("Lift",))


def test_images_and_ends_of_demonstrations_have_the_names_of_lerobot(tmp_path: Path) -> None:
    batch = build(write_demos(tmp_path / "demos.hdf5")).__getitems__([0, 1])
    assert batch["observation.images.eye_image"].shape == (2, 3, 4, 6)
    assert batch["next.done"].tolist() == [False, True]


def test_filter_chooses_the_demonstrations_of_a_mask(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "demos.hdf5")
    assert build(path, filter="valid").episodes == (0, 1)
    assert build(path, filter="valid", episodes=[1, 2]).episodes == (1,)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("vaild", "filter: there is no mask 'vaild'; did you mean 'valid'?"),
        ("lost", "mask/lost names 'demo_99', which is not in the file"),
    ],
)
def test_filter_that_does_not_fit_is_said(tmp_path: Path, mask: str, message: str) -> None:
    path = write_demos(tmp_path / "demos.hdf5")
    with pytest.raises(DatasetError) as caught:
        build(path, filter=mask)
    assert str(caught.value) == f"{path}: {message}"


def test_frame_rate_must_be_known(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "demos.hdf5", rate=None)
    with pytest.raises(DatasetError) as caught:
        build(path)
    assert str(caught.value) == (
        f"{path}: records no frame rate; give it with 'fps' (robosuite: often 20)"
    )
    assert build(path, fps=10).fps == 10


def widen(file: Any) -> None:
    del file["data/demo_10/obs/pose"]
    file["data/demo_10/obs/pose"] = np.zeros((3, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (widen, "'obs/pose' of demo_10 has shape [3, 5], expected [3, 2]"),
        (
            lambda file: file["data/demo_11/obs"].pop("pose"),
            "demo_11 has no 'obs/pose', which other demonstrations have",
        ),
        (
            lambda file: file["data/demo_10"].attrs.update(num_samples=0),
            "demo_10 has no frames",
        ),
        (lambda file: file.pop("data"), "has no demonstrations (data/demo_0, ...)"),
    ],
)
def test_broken_demonstration_is_named(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    path = write_demos(tmp_path / "demos.hdf5")
    edit(path, change)
    with pytest.raises(DatasetError) as caught:
        open_robomimic(path)
    assert str(caught.value) == f"{path}: {message}"


def test_value_that_is_not_finite_names_the_demonstration(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "demos.hdf5")
    edit(path, lambda file: file["data/demo_10/actions"].__setitem__((1, 0), np.nan))
    with pytest.raises(DatasetError) as caught:
        build(path)
    assert str(caught.value) == (
        f"{path}: 'action' has a value that is not finite at episode 1 (demo_10), frame 1"
    )


def test_truncated_file_is_named(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "demos.hdf5")
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(DatasetError) as caught:
        open_robomimic(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as HDF5: ")


def test_two_choices_of_state_keep_their_columns(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "demos.hdf5")
    first = build(path, state=["pose"])
    build(path)
    assert first[0]["observation.state"].tolist() == [9, 0]
    assert len(list((tmp_path / ".cache-trainer").iterdir())) == 2


def test_state_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = write_demos(tmp_path / "demos.hdf5")
    with pytest.raises(DatasetError) as caught:
        build(path, state=["poze"])
    assert str(caught.value) == f"{path}: state: there is no 'poze'; did you mean 'pose'?"
