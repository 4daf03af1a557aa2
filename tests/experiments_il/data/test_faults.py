"""Everything that is wrong with a data set is found at once, each fault with its place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from experiments_il.commands.data import main
from experiments_il.data.arrow import pa, pq
from experiments_il.data.export import export
from experiments_il.data.fault_finding import find_faults
from experiments_il.data.hdf5 import import_h5py
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.zarr_replay import import_zarr

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.experiments_il.data.conftest import MakeDataset

DATA = "data/chunk-000/file-000.parquet"
SAMPLES = Path(__file__).parents[2] / "data"
VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"


def edit(root: Path, **columns: Any) -> None:
    table = pq.read_table(root / DATA)
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values))
    pq.write_table(table, root / DATA)


def said(root: Path, **options: Any) -> list[str]:
    return [str(fault).replace(str(root), "") for fault in find_faults(root, **options)]


@pytest.mark.parametrize("sample", ["lerobot_v3_image", "lerobot_v3_video"])
def test_sample_of_lerobot_has_no_faults(sample: str) -> None:
    assert said(SAMPLES / sample / "dataset") == []


def test_all_faults_are_found_at_once(make_dataset: MakeDataset) -> None:
    root = make_dataset((3, 2))
    edit(
        root,
        action=[0.0, float("nan"), float("inf"), 3.0, float("nan")],
        timestamp=np.array([0.0, 0.1, 0.27, 0.0, 0.1], np.float32),
        task_index=[0, 0, 0, 1, 7],
        frame_index=[0, 1, 2, 1, 0],
    )
    assert said(root) == [
        f"/{DATA}: episode 0, frame 1 (0.10 s): 'action' is not finite (2 frames)",
        f"/{DATA}: episode 1, frame 1 (0.10 s): 'action' is not finite",
        f"/{DATA}: episode 0, frame 2 (0.20 s): 'timestamp' is 0.2700, not 0.2000: uneven",
        f"/{DATA}: episode 1, frame 0 (0.00 s): 'frame_index' is 1, expected 0",
        f"/{DATA}: episode 1, frame 1 (0.10 s): 'task_index' is 7, the data set has 2 tasks",
    ]


def test_wrong_frame_rate_is_told_from_uneven_times(make_dataset: MakeDataset) -> None:
    root = make_dataset((4,))
    edit(root, timestamp=np.arange(4, dtype=np.float32) / 20)
    (message,) = said(root)
    assert message == (
        f"/{DATA}: episode 0, frame 1 (0.10 s): timestamps advance by 0.0500 s, "
        "which is 20 frames/s; info.json says 10"
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "missing; the data set's metadata names this file"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-8]),
            "no parquet footer: the recording was not finalised",
        ),
    ],
)
def test_data_file_that_cannot_be_read_is_named(
    make_dataset: MakeDataset, damage: Callable[[Path], Any], message: str
) -> None:
    root = make_dataset()
    damage(root / DATA)
    assert said(root) == [f"/{DATA}: {message}"]


def test_missing_and_truncated_videos_are_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(SAMPLES / "lerobot_v3_video/dataset", root)
    other = next(path for path in sorted(root.glob("videos/*/*/*.mp4")) if "front" not in str(path))
    other.unlink()
    (root / VIDEO).write_bytes((root / VIDEO).read_bytes()[:1500])
    found = {fault.file: fault.message for fault in find_faults(root)}
    assert found[str(other)] == "missing; the data set's metadata names this file"
    assert str(root / VIDEO) in found
    assert len(found) == 2


def test_undecodable_image_is_placed(make_dataset: MakeDataset) -> None:
    root = make_dataset((2, 3), camera=True)
    blobs = pq.read_table(root / DATA)["observation.images.top"].to_pylist()
    blobs[3] = {"bytes": b"no image", "path": None}
    edit(root, **{"observation.images.top": blobs})
    assert said(root, decode=False) == []
    fault, *black = find_faults(root)
    assert [each.level for each in black] == ["warning", "warning"]
    assert (fault.episode, fault.frame, fault.time_s) == (1, 1, 0.1)


def test_metadata_that_contradict_each_other_are_one_fault(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    info = json.loads((root / "meta/info.json").read_text()) | {"total_frames": 99}
    (root / "meta/info.json").write_text(json.dumps(info))
    assert said(root) == ["/meta/episodes: episodes hold 15 frames, info.json counts 99"]


def test_numbers_of_other_formats_are_checked(make_dataset: MakeDataset, tmp_path: Path) -> None:
    export(open_lerobot(make_dataset((3, 2))), tmp_path / "replay.zarr", "zarr")
    import_zarr().open_group(tmp_path / "replay.zarr")["data/action"][4] = np.nan
    assert said(tmp_path / "replay.zarr", fps=10) == [
        ": episode 1, frame 1 (0.10 s): 'action' is not finite"
    ]


def test_every_broken_file_of_a_folder_is_named(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = tmp_path / "episodes"
    export(open_lerobot(make_dataset((3, 2, 4, 2))), root, "aloha")
    (root / "episode_0.hdf5").write_bytes(b"no HDF5")
    with import_h5py().File(root / "episode_2.hdf5", "r+") as file:
        del file["action"]
    first, second = find_faults(root, fps=10)
    assert (first.file, second.file) == (
        str(root / "episode_0.hdf5"),
        str(root / "episode_2.hdf5"),
    )
    assert first.message.startswith("cannot be read as HDF5: ")
    assert second.message == "has no 'action'"


def test_folder_that_is_no_data_set_is_one_fault(tmp_path: Path) -> None:
    (message,) = said(tmp_path)
    assert message.startswith(": is no data set of a known format; expected ")


def test_command_exits_with_two_and_tells_machines(
    make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_dataset((2,))
    assert main(["check", str(root)]) == 0
    assert capsys.readouterr().out == f"{root}: no faults found\n"
    edit(root, action=[0.0, float("nan")])
    assert main(["check", str(root), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["faults"] == [
        {
            "dataset": str(root),
            "message": "'action' is not finite",
            "file": str(root / DATA),
            "episode": 0,
            "frame": 1,
            "time_s": 0.1,
            "level": "error",
        }
    ]
