"""One recording in every format reads to the same frames, windows and masks."""

from __future__ import annotations

import multiprocessing
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.experiments_il.data.synthetic import FPS, write_lerobot, write_zarr_zip
from tests.experiments_il.data.v2_layout import write_v2

from experiments_il.data.export import export
from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.file_factories import (
    EpisodicHdf5Factory,
    RobomimicFactory,
    ZarrReplayFactory,
)
from experiments_il.data.formats import detect_format, open_any
from experiments_il.data.zarr_layout import describe
from experiments_il.data.zarr_replay import import_zarr
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from experiments_il.data.source import FrameSource
    from experiments_il.data.window_factory import WindowFactory

LENGTHS = (5, 1, 12, 2, 3, 4, 2, 2, 2, 2, 3)
SHARED: dict[str, Any] = {
    "windows": {"action": [0, 4], "observation.images.top": [-1, 1]},
    "delta_timestamps": {"observation.state": [-0.2, 0.0, 0.3]},
    "keys": ["observation.velocity", "timestamp", "episode_index", "frame_index"],
    "normalize": {"observation.state": "mean_std"},
    "val_fraction": 0.3,
}
KINDS = ["v2", "robomimic", "aloha", "zarr", "zarr zip", "zarr v3"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> FrameSource:
    return write_lerobot(tmp_path_factory.mktemp("recording") / "v3", LENGTHS)


def write(recording: FrameSource, kind: str, root: Path) -> WindowFactory:
    if kind == "v2":
        return LeRobotFactory(str(write_v2(recording.root, root / "v2")), **SHARED)
    if kind == "robomimic":
        export(recording, root / "demos.hdf5", kind)
        return RobomimicFactory(str(root / "demos.hdf5"), **SHARED)
    if kind == "aloha":
        export(recording, root / "episodes", kind)
        return EpisodicHdf5Factory(str(root / "episodes"), fps=FPS, **SHARED)
    path = root / "replay.zarr"
    if kind == "zarr zip":
        path = write_zarr_zip(recording, root / "replay.zarr.zip")
    else:
        export(recording, path, "zarr")
    if kind == "zarr v3":
        path = rewrite_as_v3(path, root / "replay3.zarr")
    return ZarrReplayFactory(str(path), fps=FPS, **SHARED)


def rewrite_as_v3(old: Path, path: Path) -> Path:
    zarr = import_zarr()
    source, new = zarr.open_group(old, mode="r"), zarr.open_group(path, mode="w", zarr_format=3)
    for name in [*(f"data/{key}" for key in source["data"]), "meta/episode_ends"]:
        new.create_array(name, data=source[name][:])
    return path


def batches(factory: WindowFactory) -> dict[str, Any]:
    built = factory.build({}, {})
    both = {name: built[name] for name in ("dataset", "val_dataset")}
    return {
        f"{name} {key}": values
        for name, dataset in both.items()
        for key, values in dataset.__getitems__(range(len(dataset))).items()
    } | {"stats": built["norm_stats"]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_reads_to_the_same_windows(
    recording: FrameSource, kind: str, tmp_path: Path
) -> None:
    wanted = batches(LeRobotFactory(str(recording.root), **SHARED))
    found = batches(write(recording, kind, tmp_path))
    statistics, expected = found.pop("stats"), wanted.pop("stats")
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        torch.testing.assert_close(found[key], values, rtol=0, atol=0, msg=f"{kind} {key}")
    for name in ("mean", "std"):
        np.testing.assert_allclose(
            statistics["observation.state"][name], expected["observation.state"][name], rtol=1e-6
        )


@pytest.mark.parametrize("kind", ["robomimic", "aloha", "zarr", "zarr zip"])
def test_conversion_back_gives_the_recording_again(
    recording: FrameSource, kind: str, tmp_path: Path
) -> None:
    factory = write(recording, kind, tmp_path)
    left_out = export(factory.open_source(), tmp_path / "back", "lerobot")
    assert left_out == []
    keys: dict[str, Any] = {"normalize": {}, "keys": None, "delta_timestamps": None}
    wanted = batches(LeRobotFactory(str(recording.root), **{**SHARED, **keys}))
    found = batches(LeRobotFactory(str(tmp_path / "back"), **{**SHARED, **keys}))
    assert found.keys() == wanted.keys()
    for key in wanted.keys() - {"stats"}:
        torch.testing.assert_close(found[key], wanted[key], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["robomimic", "aloha", "zarr", "zarr zip"])
def test_format_is_known_by_what_lies_there(
    recording: FrameSource, kind: str, tmp_path: Path
) -> None:
    path = write(recording, kind, tmp_path).open_source().root
    assert detect_format(path) == kind.split(maxsplit=1)[0]
    assert open_any(path, fps=FPS).episodes.length.tolist() == list(LENGTHS)


def test_zarr_is_described_without_being_opened(recording: FrameSource, tmp_path: Path) -> None:
    factory = write(recording, "zarr", tmp_path)
    batch = factory.describe_batch(2)
    assert batch is not None
    path = str(tmp_path / "replay.zarr")
    shapes = describe({"path": path, **SHARED}, lambda *said: pytest.fail(str(said)))
    assert shapes == {key: tuple(value.shape[1:]) for key, value in batch.items()}


@pytest.mark.parametrize("kind", ["robomimic", "zarr"])
def test_vectors_are_concatenated_into_the_state(
    recording: FrameSource, kind: str, tmp_path: Path
) -> None:
    path = write(recording, kind, tmp_path).open_source().root
    factory = (RobomimicFactory if kind == "robomimic" else ZarrReplayFactory)(
        str(path), fps=FPS, state=["velocity", "state"], keys=["observation.state"]
    )
    batch = factory.build({}, {})["dataset"].__getitems__([0, 7])
    whole = LeRobotFactory(str(recording.root)).build({}, {})["dataset"].__getitems__([0, 7])
    wanted = torch.cat([whole["observation.velocity"], whole["observation.state"]], dim=1)
    torch.testing.assert_close(batch["observation.state"], wanted, rtol=0, atol=0)


def _read_first(dataset: Any, found: Any) -> None:
    found.put(float(dataset[0]["observation.state"].sum()))


@pytest.mark.parametrize("kind", ["robomimic", "zarr"])
def test_data_set_is_read_in_a_forked_process(
    recording: FrameSource, kind: str, tmp_path: Path
) -> None:
    dataset = write(recording, kind, tmp_path).build({}, {})["dataset"]
    wanted = float(pickle.loads(pickle.dumps(dataset))[0]["observation.state"].sum())
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    process = context.Process(target=_read_first, args=(dataset, found))
    process.start()
    assert found.get(timeout=60) == wanted
    process.join(60)


def test_unknown_folder_is_said_to_be_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        detect_format(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: is no data set of a known format; expected a LeRobotDataset "
        "(meta/info.json), a robomimic file (.hdf5), a folder of episodes (episode_0.hdf5, ...) "
        "or a zarr store (meta/episode_ends)"
    )
