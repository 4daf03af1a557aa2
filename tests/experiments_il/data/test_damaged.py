"""Each way in which recordings are damaged is found before training, named with its place.

`docs/how-to/check-a-data-set.md` has the same table in words.
"""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests.experiments_il.data.damaged import (
    DATA,
    LENGTHS,
    SIDE,
    TOP,
    VIDEO,
    cut,
    edit_column,
    edit_json,
    replace_bytes,
    write_healthy,
)

from experiments_il.commands.data import main
from experiments_il.data.arrow import pq
from experiments_il.data.fault_finding import find_faults
from experiments_il.data.hdf5 import import_h5py
from experiments_il.data.zarr_replay import import_zarr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Damage = Callable[[Path], Any]

FRAMES = sum(LENGTHS)
META = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_healthy(tmp_path_factory.mktemp("healthy") / "set", "video")


def said(root: Path, **options: Any) -> list[str]:
    return [str(fault).replace(f"{root}", "") for fault in find_faults(root, **options)]


def states(root: Path) -> Any:
    return np.array(pq.read_table(root / DATA)["observation.state"].to_pylist(), np.float32)


def with_statistics(root: Path, key: str, values: list[float] | None) -> None:
    stats = json.loads((root / "meta/stats.json").read_text())
    if values is None:
        del stats["action"]
    else:
        stats["action"][key] = values
    (root / "meta/stats.json").write_text(json.dumps(stats))


def write_video(path: Path, frames: int, rate: int, late: int | None = None) -> None:
    """Write a video; from frame `late` on, frames are half a frame late."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "2"})
        stream.codec_context.time_base = Fraction(1, 2 * rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(frames):
            picture = np.full((32, 32, 3), 40 + 5 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = Fraction(1, 2 * rate)
            frame.pts = 2 * number + (late is not None and number >= late)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def spoil_middle(path: Path) -> None:
    """Overwrite the bytes of a video's middle third; its index stays whole."""
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    path.write_bytes(content)


LEROBOT: dict[str, tuple[Damage, str]] = {
    "missing data file": (
        lambda root: (root / DATA).unlink(),
        f"/{DATA}: missing; the data set's metadata names this file",
    ),
    "parquet without footer": (
        lambda root: cut(root / DATA, 0.9),
        f"/{DATA}: no parquet footer: the recording was not finalised",
    ),
    "missing video": (
        lambda root: (root / VIDEO).unlink(),
        f"/{VIDEO}: missing; the data set's metadata names this file",
    ),
    "truncated video": (
        lambda root: cut(root / VIDEO, 0.5),
        f"/{VIDEO}: episode 1, frame ",
    ),
    "video without its index": (
        lambda root: cut(root / VIDEO, 0.02),
        f"/{VIDEO}: cannot be read as a video: ",
    ),
    "corrupt video": (lambda root: spoil_middle(root / VIDEO), f"/{VIDEO}: episode "),
    "video of another rate": (
        lambda root: write_video(root / VIDEO, FRAMES, 30),
        f"/{VIDEO}: the video has 30 frames/s, info.json says 10",
    ),
    "uneven video": (
        lambda root: write_video(root / VIDEO, FRAMES, 10, late=20),
        (
            f"/{VIDEO}: episode 1, frame 8 (0.80 s): no frame at 2.0000 s (2 frames missing); the "
            "video is uneven: 0.1500 s after 1.9000 s instead of 0.1000 s"
        ),
    ),
    "short video": (
        lambda root: write_video(root / VIDEO, FRAMES - 2, 10),
        (
            f"/{VIDEO}: episode 2, frame 12 (1.20 s): no frame at 3.4000 s (2 frames missing); the "
            "video ends at 3.3000 s"
        ),
    ),
    "unknown codec": (
        lambda root: replace_bytes(root / VIDEO, b"avc1", b"zzz1"),
        f"/{VIDEO}: there is no decoder for the codec of this video",
    ),
    "wrong frame rate": (
        lambda root: edit_column(
            root / DATA,
            "timestamp",
            np.concatenate([np.arange(n) / 20 for n in LENGTHS]).astype(np.float32),
        ),
        (
            f"/{DATA}: episode 0, frame 1 (0.10 s): timestamps advance by 0.0500 s, which is 20 "
            "frames/s; info.json says 10"
        ),
    ),
    "uneven timestamps": (
        lambda root: edit_column(
            root / DATA,
            "timestamp",
            np.concatenate([np.arange(n) / 10 + 0.03 * (np.arange(n) > 4) for n in LENGTHS]).astype(
                np.float32
            ),
        ),
        f"/{DATA}: episode 0, frame 5 (0.50 s): 'timestamp' is 0.5300, not 0.5000: uneven",
    ),
    "not a number": (
        lambda root: edit_column(
            root / DATA, "observation.state", [[float("nan")] * 3, *states(root)[1:].tolist()]
        ),
        f"/{DATA}: episode 0, frame 0 (0.00 s): 'observation.state' is not finite",
    ),
    "another shape": (
        lambda root: edit_column(
            root / DATA,
            "observation.state",
            [row[:2] if n > 20 else row for n, row in enumerate(states(root).tolist())],
        ),
        (
            f"/{DATA}: 'observation.state' has length 2 instead of 3 at episode 1, frame 9 "
            "(declared shape [3])"
        ),
    ),
    "task out of range": (
        lambda root: edit_column(root / DATA, "task_index", [0] * 30 + [3] * 6),
        f"/{DATA}: episode 2, frame 8 (0.80 s): 'task_index' is 3, the data set has 1 tasks",
    ),
    "empty episode": (
        lambda root: edit_column(root / META, "length", [12, 0, 14]),
        "/meta/episodes: episode 1 has rows 12 to 22 and length 0; expected it to start at 12",
    ),
    "unfinished recording": (
        lambda root: shutil.rmtree(root / "meta/episodes"),
        "/meta/episodes: no episodes table; the recording was not finalised",
    ),
    "future version": (
        lambda root: edit_json(root / "meta/info.json", codebase_version="v4.0"),
        "/meta/info.json: 'codebase_version' is 'v4.0'; this reader reads v3.0, v2.1 and v2.0",
    ),
    "statistics of other data": (
        lambda root: with_statistics(root, "max", [9.0, 9.0]),
        ": the recorded 'max' of 'action' is 9 in dimension 0, the data's is ",
    ),
    "statistics of another shape": (
        lambda root: with_statistics(root, "mean", [0.0]),
        ": the recorded 'mean' of 'action' has 1 values, the data 2",
    ),
}
NOTES: dict[str, tuple[Damage, str]] = {
    "no statistics": (
        lambda root: with_statistics(root, "", None),
        ": note: no statistics of action: they are computed when they are needed",
    ),
}
RECORDED: dict[str, tuple[dict[str, Any], str]] = {
    "dropped frames": (
        {"observation_state": np.repeat([[0.0, 0, 0], [900.0, 0, 0]], 5, axis=0)},
        (
            ": episode 1, frame 5 (0.50 s): warning: 'observation.state' jumps from 0 to 900 in "
            "dimension 0: were frames dropped?"
        ),
    ),
    "black images": (
        {"observation_images_top": np.zeros((10, 8, 8, 3), np.uint8)},
        f"/{DATA}: episode 1, frame 0 (0.00 s): warning: '{TOP}' is black in 10 of 10 frames",
    ),
    "camera that stands still": (
        {"observation_images_top": np.full((10, 8, 8, 3), 99, np.uint8)},
        (
            f"/{DATA}: episode 1, frame 0 (0.00 s): warning: '{TOP}' shows the same picture in all "
            "10 frames"
        ),
    ),
}


@pytest.mark.parametrize("kind", ["video", "robomimic", "aloha", "zarr"])
def test_healthy_recording_has_no_faults(tmp_path: Path, kind: str) -> None:
    name = "set.hdf5" if kind == "robomimic" else "set"
    assert said(write_healthy(tmp_path / name, kind), fps=10) == []


@pytest.mark.parametrize(("damage", "message"), LEROBOT.values(), ids=LEROBOT)
def test_damage_is_found_with_its_place(
    healthy: Path, tmp_path: Path, damage: Damage, message: str
) -> None:
    root = shutil.copytree(healthy, tmp_path / "set")
    damage(root)
    found = said(root)
    assert [each for each in found if each.startswith(message)], found
    assert main(["check", str(root)]) == 2


@pytest.mark.parametrize(("damage", "message"), NOTES.values(), ids=NOTES)
def test_note_is_told_and_is_no_fault(
    healthy: Path, tmp_path: Path, damage: Damage, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(healthy, tmp_path / "set")
    damage(root)
    assert said(root) == [message]
    assert main(["check", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{root}: no faults found, 1 note"


@pytest.mark.parametrize(("changed", "message"), RECORDED.values(), ids=RECORDED)
def test_doubtful_recording_is_told(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    assert said(write_healthy(tmp_path / "set", **changed)) == [message]


def test_every_damage_is_found_at_once(healthy: Path, tmp_path: Path) -> None:
    root = shutil.copytree(healthy, tmp_path / "set")
    for name in ("missing video", "not a number", "uneven timestamps", "statistics of other data"):
        LEROBOT[name][0](root)
    found = said(root)
    assert [each.rsplit(": ", 1)[-1] for each in found[:-1]].count("uneven") == 3
    assert len(found) == 6


def test_version_two_is_checked_too(healthy: Path, tmp_path: Path) -> None:
    root = tmp_path / "v2"
    assert main(["convert", str(healthy), str(root), "--to", "lerobot-v2.1", "--videos"]) == 0
    assert said(root) == []
    video = next(root.glob(f"videos/*/{SIDE}/episode_000001.mp4"))
    video.unlink()
    (root / "data/chunk-000/episode_000002.parquet").write_bytes(b"")
    assert said(root)[:2] == [
        (
            "/data/chunk-000/episode_000002.parquet: no parquet footer: the recording was not "
            "finalised"
        ),
        f"/{video.relative_to(root)}: missing; the data set's metadata names this file",
    ]


def test_cameras_that_a_training_needs_are_asked_for(healthy: Path) -> None:
    assert said(healthy, decode=False, keys=[TOP, "observation.images.sid"]) == [
        ": there is no 'observation.images.sid'; did you mean 'observation.images.side'?"
    ]


def test_short_same_and_constant_episodes_are_told(tmp_path: Path) -> None:
    from experiments_il.data.writer import LeRobotWriter

    features = {"action": {"dtype": "float32", "shape": [2]}}
    ramp = np.stack([np.arange(20), np.full(20, 0.5)], axis=1).astype(np.float32)
    with LeRobotWriter.create(tmp_path / "set", fps=10, features=features) as writer:
        for values in (ramp, ramp[::-1].copy(), ramp, ramp[:1]):
            writer.add_episode({"action": values}, "wait")
    assert said(tmp_path / "set") == [
        ": episode 3: warning: has 1 frame; the median is 20",
        ": episode 2: warning: holds the same numbers as episode 0",
        (
            ": note: 'action' never changes in dimension 1, as where a joint is not used; "
            "normalised it is 0"
        ),
    ]


def drop_array(root: Path) -> None:
    with import_h5py().File(root, "r+") as file:
        del file["data/demo_0/obs/state"]
        del file["data/demo_2/actions"]


def spoil_number(root: Path) -> None:
    with import_h5py().File(root, "r+") as file:
        file["data/demo_1/actions"][3] = np.inf


def resize(root: Path) -> None:
    with import_h5py().File(root / "episode_1.hdf5", "r+") as file:
        values = file["observations/qpos"][:, :2]
        del file["observations/qpos"]
        file["observations/qpos"] = values


def empty(root: Path) -> None:
    with import_h5py().File(root / "episode_2.hdf5", "r+") as file:
        del file["action"]
        file["action"] = np.zeros((0, 2), np.float32)


def no_frames(root: Path) -> None:
    import_zarr().open_group(root)["meta/episode_ends"][:] = [12, 12, 36]


def too_few_ends(root: Path) -> None:
    import_zarr().open_group(root)["meta/episode_ends"][:] = [12, 22, 30]


OTHERS: dict[str, tuple[str, Damage, list[str]]] = {
    "robomimic demonstrations that differ": (
        "robomimic",
        drop_array,
        [
            ": episode 0: demo_0 has no 'obs/state', which other demonstrations have",
            ": episode 2: demo_2 has no 'actions'",
        ],
    ),
    "robomimic not finite": (
        "robomimic",
        spoil_number,
        [": episode 1, frame 3 (0.30 s): 'action' is not finite"],
    ),
    "truncated HDF5": ("robomimic", lambda root: cut(root, 0.5), [": cannot be read as HDF5: "]),
    "ALOHA of another shape": (
        "aloha",
        resize,
        ["/episode_1.hdf5: 'observations/qpos' has shape [10, 2], expected [10, 3]"],
    ),
    "ALOHA without frames": ("aloha", empty, ["/episode_2.hdf5: has no frames"]),
    "zarr episode without frames": (
        "zarr",
        no_frames,
        [": meta/episode_ends: episode 1 has no frames"],
    ),
    "zarr with frames of no episode": (
        "zarr",
        too_few_ends,
        [": meta/episode_ends says 30 frames, data/action has 36"],
    ),
    "zarr without an array": (
        "zarr",
        lambda root: shutil.rmtree(root / "data/action"),
        [": has no data/action"],
    ),
}


@pytest.mark.parametrize(("kind", "damage", "messages"), OTHERS.values(), ids=OTHERS)
def test_other_formats_are_checked_as_well(
    tmp_path: Path, kind: str, damage: Damage, messages: list[str]
) -> None:
    root = write_healthy(tmp_path / ("set.hdf5" if kind == "robomimic" else "set"), kind)
    damage(root)
    found = said(root, fps=10)
    assert len(found) == len(messages), found
    for each, message in zip(found, messages, strict=True):
        assert each.startswith(message)
