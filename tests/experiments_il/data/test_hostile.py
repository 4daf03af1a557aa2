"""Data sets made to harm: nothing runs, hangs or reads other files; each is refused in words."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from tests.experiments_il.data.damaged import (
    DATA,
    TOP,
    VIDEO,
    edit_column,
    edit_json,
    write_healthy,
)

from experiments_il.data.arrow import pa, pq
from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.fault_finding import find_faults
from policy_constructor.errors import ConfigError
from trainer_core import cli
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable

INFO = "meta/info.json"
META = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("healthy")
    ends = {"video": "", "robomimic": ".hdf5", "aloha": "", "zarr": ""}
    return {kind: write_healthy(root / f"{kind}{end}", kind) for kind, end in ends.items()}


@pytest.fixture
def copied(healthy: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    def copy(kind: str) -> Path:
        source = healthy[kind]
        target = tmp_path / source.name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return target

    return copy


def said(root: Path) -> str:
    """Return the first fault, after the commands that read numbers have refused the set as well."""
    assert cli.main(["data", "stats", str(root), "--fps", "10"]) in {0, 2}
    errors = [fault for fault in find_faults(root, fps=10) if fault.level == "error"]
    return str(errors[0]).replace(str(root), "")


def with_feature(root: Path, name: str, **spec: Any) -> None:
    features = json.loads((root / INFO).read_text())["features"]
    edit_json(root / INFO, features=features | {name: features.get(name, {}) | spec})


def twice(root: Path, file: str, name: str) -> None:
    table = pq.read_table(root / file)
    pq.write_table(table.append_column(name, table[name]), root / file)


def pictures(root: Path, value: Any) -> None:
    rows = pq.read_metadata(root / DATA).num_rows
    edit_column(root / DATA, TOP, pa.array([{"bytes": value, "path": "/etc/passwd"}] * rows))


def replaced_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
LEROBOT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "huge shape": (
        lambda root: with_feature(root, "action", shape=[2**40]),
        f"/{INFO}: feature 'action' has shape [1099511627776], more than 268435456 values per fra",
    ),
    "wide shape": (
        lambda root: with_feature(root, "action", shape=[2**16]),
        f"/{DATA}: 'action' has length 2 instead of 65536 at episode 0, frame 0",
    ),
    "huge count": (
        lambda root: edit_json(root / INFO, total_frames=10**30),
        f"/{INFO}: 'total_frames' is more than 2147483648: info.json is damaged",
    ),
    "huge rate": (
        lambda root: edit_json(root / INFO, fps=10**400),
        f"/{INFO}: 'fps' is 1e+300: no camera and no robot has that rate",
    ),
    "dtype is a list": (
        lambda root: with_feature(root, "action", dtype=["float32"]),
        f"/{INFO}: feature 'action' has dtype ['float32'], which this reader does not know",
    ),
    "rows by pictures": (
        lambda root: with_feature(root, "index", dtype="image", shape=[4, 4, 3]),
        f"/{INFO}: feature 'index' is image [4, 4, 3], expected int64 [1]",
    ),
    "template that leads out": (
        lambda root: edit_json(root / INFO, data_path="../../{chunk_index}"),
        f"/{INFO}: path template '../../{{chunk_index}}' leads out of the data set: '../../0'",
    ),
    "template of a long name": (
        lambda root: edit_json(root / INFO, video_path="x" * 999),
        f"/{INFO}: path template '{'x' * 40}'... makes names that no file can have",
    ),
    "episodes' column twice": (
        lambda root: twice(root, META, "length"),
        f"/{META}: column 'length' is there twice",
    ),
    "column twice": (
        lambda root: twice(root, DATA, "action"),
        f"/{DATA}: column 'action' is there twice",
    ),
    "pictures as text": (
        lambda root: pictures(root, "/etc/passwd"),
        f"/{DATA}: '{TOP}' holds images as string, expected binary",
    ),
    "pictures as programs": (
        lambda root: pictures(root, POSTSCRIPT),
        f"/{DATA}: episode 0, frame 0 (0.00 s): '{TOP}': the image cannot be decoded: cannot ident",
    ),
    "pipe for numbers": (
        lambda root: replaced_by_pipe(root / DATA),
        f"/{DATA}: is no regular file",
    ),
    "pipe for a video": (
        lambda root: replaced_by_pipe(root / VIDEO),
        f"/{VIDEO}: is no regular file",
    ),
    "play list for a video": (
        lambda root: (root / VIDEO).write_text("#EXTM3U\n#EXTINF:9,\n/etc/passwd\n"),
        f"/{VIDEO}: cannot be read as a video: it does not begin like an mp4 file",
    ),
}


@pytest.mark.parametrize("attack", LEROBOT)
def test_hostile_lerobot_set_is_refused(copied: Callable[[str], Path], attack: str) -> None:
    root = copied("video")
    change, message = LEROBOT[attack]
    change(root)
    assert said(root).startswith(message)


def test_odd_names_and_statistics_do_not_end_a_check(copied: Callable[[str], Path]) -> None:
    root = copied("video")
    with_feature(root, TOP, names=7)
    stats = json.loads((root / "meta/stats.json").read_text())
    stats["action"]["max"] = [10**400, 0]
    (root / "meta/stats.json").write_text(json.dumps(stats))
    assert said(root) == ": the recorded 'max' of 'action' is missing or no number"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"windows": {"action": [-(10**12), 1]}},
            "data.windows.action: reaches 1000000000000 frames from the sample, more than 1000000",
        ),
        (
            {"delta_timestamps": {"action": [math.inf]}},
            "delta_timestamps.action: inf s is more than 1000000 frames away",
        ),
        ({"episodes": [10**30]}, "no episode 1000000000000000000000000000000; the data set has"),
        ({"episodes": [0, -1]}, "no episode -1; the data set has episodes 0 to 2"),
    ],
)
def test_numbers_beyond_any_data_set_are_refused(
    healthy: dict[str, Path], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, DatasetError)) as caught:
        LeRobotFactory(str(healthy["aloha"].with_name("aloha.source")), **parameters).build({}, {})
    assert message in str(caught.value)


def relink(group: Any, name: str, link: Any) -> None:
    del group[name]
    group[name] = link


def outside(demo: Any) -> None:
    del demo["actions"]
    demo.create_dataset("actions", (12, 2), "f4", external=[("/etc/passwd", 0, 96)])


def virtual(demo: Any) -> None:
    del demo["actions"]
    layout = h5py.VirtualLayout((12, 2), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.hdf5", "x", (12, 2))
    demo.create_virtual_dataset("actions", layout)


def endless(demo: Any) -> None:
    for name in list(demo):
        del demo[name]
    demo.create_dataset("actions", (2**40, 2), "f4", chunks=(1024, 2))
    demo.attrs["num_samples"] = 2**40


ROBOMIMIC: dict[str, tuple[Callable[[Any], Any], str]] = {
    "link to another file": (
        lambda demo: relink(demo, "actions", h5py.ExternalLink("/etc/passwd", "/x")),
        "'data/demo_0/actions' is a link to another file, '/etc/passwd', which is not read",
    ),
    "link to nothing": (
        lambda demo: relink(demo, "actions", h5py.SoftLink("/nowhere")),
        "'data/demo_0/actions' is a link to nothing in this file",
    ),
    "values of another file": (
        outside,
        "'data/demo_0/actions' keeps its values in another file, which is not read",
    ),
    "values of another data set": (
        virtual,
        "'data/demo_0/actions' keeps its values in another file, which is not read",
    ),
    "group for numbers": (lambda demo: relink(demo, "actions", demo["obs"]), "demo_0 has no 'act"),
    "one number": (lambda demo: relink(demo, "actions", 3.0), "demo_0 has no 'actions'"),
    "numbers for a group": (
        lambda demo: relink(demo, "obs", np.zeros(3)),
        "'data/demo_0/obs' is an array, expected a group",
    ),
    "length in words": (
        lambda demo: demo.attrs.__setitem__("num_samples", "many"),
        "'num_samples' of demo_0 is 'many', expected a number",
    ),
}


@pytest.mark.parametrize("attack", ROBOMIMIC)
def test_hostile_robomimic_file_is_refused(copied: Callable[[str], Path], attack: str) -> None:
    path = copied("robomimic")
    change, message = ROBOMIMIC[attack]
    with h5py.File(path, "r+") as file:
        change(file["data/demo_0"])
    assert said(path).startswith(f": episode 0: {message}")


def test_demonstrations_without_end_are_refused(copied: Callable[[str], Path]) -> None:
    path = copied("robomimic")
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            endless(demo)
    assert said(path) == f": declares {3 * 2**40} frames, more than 2147483648"


@pytest.mark.parametrize("arguments", ["7", '{"env_kwargs": [1]}', "[" * 9999, b"\xff"])
def test_odd_settings_are_no_frame_rate(
    copied: Callable[[str], Path], arguments: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied("robomimic")
    with h5py.File(path, "r+") as file:
        file["data"].attrs["env_args"] = arguments
    assert cli.main(["data", "info", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: ")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("observations", np.zeros(3), "'observations' is an array, expected a group"),
        ("action", 1.0, "has no 'action'"),
        ("action", h5py.ExternalLink("/x", "/x"), "'action' is a link to another file, '/x', whic"),
    ],
)
def test_hostile_aloha_file_is_refused(
    copied: Callable[[str], Path], name: str, value: Any, message: str
) -> None:
    root = copied("aloha")
    with h5py.File(root / "episode_1.hdf5", "r+") as file:
        relink(file, name, value)
    assert said(root).startswith(f"/episode_1.hdf5: {message}")


class Program:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("was-run"),)


def hide_program(root: Path, changes: dict[str, Any]) -> None:
    edit_json(root / "meta/episode_ends/.zarray", **changes)
    (root / "meta/episode_ends/0").write_bytes(pickle.dumps(Program()))


@pytest.mark.parametrize(
    "place", [{"compressor": {"id": "pickle"}}, {"filters": [{"id": "pickle"}]}]
)
def test_pickles_in_a_zarr_store_are_not_read(
    copied: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    root = copied("zarr")
    hide_program(root, place)
    # A second document, of version 3, must not hide the first.
    plain = {"shape": [3], "data_type": "int64"}
    (root / "meta/episode_ends/zarr.json").write_text(json.dumps(plain))
    assert said(root).startswith(": meta/episode_ends holds pickled objects, which are not read")
    assert not (tmp_path / "was-run").exists()


ZARR: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no mapping": (
        lambda root: (root / "data/action/.zarray").write_text("[1]"),
        ": the metadata of data/action are no mapping",
    ),
    "shape of words": (
        lambda root: edit_json(root / "data/action/.zarray", shape=["a", 2]),
        ": data/action has shape ['a', 2], expected integers",
    ),
    "too wide": (
        lambda root: edit_json(root / "data/action/.zarray", shape=[36, 2**40]),
        ": 'data/action' has shape [1099511627776] per frame: no or too many values",
    ),
    "ends of two dimensions": (
        lambda root: edit_json(root / "meta/episode_ends/.zarray", shape=[3, 1], chunks=[3, 1]),
        ": meta/episode_ends holds int64 [3, 1], expected a list of numbers",
    ),
    "no end of ends": (
        lambda root: edit_json(root / "meta/episode_ends/.zarray", shape=[2**45]),
        ": cannot be read as a zarr store: Unable to allocate ",
    ),
    "too deep": (
        lambda root: (root / "data/action/.zarray").write_text("[" * 99_999),
        ": cannot be read as a zarr store: maximum recursion depth",
    ),
}


@pytest.mark.parametrize("attack", ZARR)
def test_hostile_zarr_store_is_refused(copied: Callable[[str], Path], attack: str) -> None:
    root = copied("zarr")
    change, message = ZARR[attack]
    change(root)
    assert said(root).startswith(message)


def test_metadata_that_unpack_without_end_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data/action/.zarray", b" " * (2**24 + 1))
    assert said(path) == (
        ": cannot be read as a zarr store: 'data/action/.zarray' unpacks to 16777217 bytes"
    )
