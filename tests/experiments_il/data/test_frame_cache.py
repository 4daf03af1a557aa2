"""Every cache gives the frames of the files, is built once, and built again when they change."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console
from torch.utils.data import DataLoader

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.dataset import WindowDataset
from experiments_il.data.export import export
from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.frame_display import prepare_frames
from experiments_il.data.images import decode_image
from experiments_il.data.jpeg_frames import encode_jpeg
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.robomimic import open_robomimic
from experiments_il.data.video import VideoFrames
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = Path(__file__).parents[2] / "data"
CACHES = ("none", "low_dim", "jpeg", "uint8", "ram", "auto")
KEYS = {"lerobot_v3_video": "observation.images.front", "lerobot_v3_image": "observation.image"}


@pytest.fixture(params=sorted(KEYS))
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    root = tmp_path / "set"
    shutil.copytree(SAMPLES / request.param / "dataset", root)
    features = open_lerobot(root).features
    key = next(name for name, feature in features.items() if feature.is_frame)
    return root, key


@pytest.fixture
def video(tmp_path: Path) -> tuple[Path, str]:
    root = tmp_path / "set"
    shutil.copytree(SAMPLES / "lerobot_v3_video/dataset", root)
    return root, KEYS["lerobot_v3_video"]


def read(store: ColumnStore, key: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    frames = store.camera(key)
    return frames[rows] if isinstance(frames, np.ndarray) else frames.gather(rows)


@pytest.mark.parametrize("cache", CACHES)
def test_every_cache_gives_the_frames_of_the_files(sample: tuple[Path, str], cache: Any) -> None:
    root, key = sample
    store = ColumnStore(open_lerobot(root), cache=cache)
    expected = ColumnStore(open_lerobot(root), cache="ram")
    rows = np.random.default_rng(0).integers(0, len(store), (7, 2))
    found, wanted = read(store, key, rows), read(expected, key, rows)
    assert found.dtype == np.uint8
    if cache == "jpeg":
        channels, height, width = store.source.features[key].item_shape
        frames = wanted.reshape(-1, channels, height, width)
        lossy = [
            decode_image(encode_jpeg(frame), (channels, height, width), "") for frame in frames
        ]
        wanted = np.stack(lossy).reshape(wanted.shape)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("cache", ["uint8", "jpeg"])
def test_second_open_decodes_nothing(
    video: tuple[Path, str], cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, key = video
    first = read(ColumnStore(open_lerobot(root), cache=cache), key, np.arange(5))
    monkeypatch.setattr(VideoFrames, "gather", lambda *_: pytest.fail("decoded again"))
    store = ColumnStore(open_lerobot(root), cache=cache)
    np.testing.assert_array_equal(read(store, key, np.arange(5)), first)


def test_changed_video_is_decoded_again(video: tuple[Path, str]) -> None:
    root, key = video
    path = next((root / f"videos/{key}").rglob("*.mp4"))
    for _ in range(2):
        store = ColumnStore(open_lerobot(root), cache="uint8")
        store.camera(key)
        group = store.cameras._groups[key].folder
        assert group is not None
        inode = group.stat().st_ino
        assert store.cameras._look_at(key).built == {"mapped"}
        os.utime(path, ns=(0, 0))
        assert store.cameras._look_at(key).built == frozenset()
        ColumnStore(open_lerobot(root), cache="uint8").camera(key)
        assert group.stat().st_ino != inode
        os.utime(path)


def test_no_cache_writes_nothing(sample: tuple[Path, str]) -> None:
    root, key = sample
    store = ColumnStore(open_lerobot(root), cache="none")
    read(store, key, np.arange(3))
    assert store.numbers("action").ndim == 2
    assert not (root / ".cache-trainer").exists()


def test_damaged_image_is_named_when_it_is_asked_for(sample: tuple[Path, str]) -> None:
    root, key = sample
    for path in [*root.glob("data/**/*.parquet"), *root.glob(f"videos/{key}/**/*.mp4")]:
        data = path.read_bytes()
        damaged = data.replace(b"IDAT", b"XXXX") if path.suffix == ".parquet" else data[:900]
        path.write_bytes(damaged)
    store = ColumnStore(open_lerobot(root), cache="low_dim")
    with pytest.raises(DatasetError) as caught:
        read(store, key, np.array([3]))
    named = (f"'{key}' at episode 0, frame 3: the image cannot", "cannot be read as a video")
    assert any(part in str(caught.value) for part in named)


def test_files_read_as_a_whole_are_held_in_memory(sample: tuple[Path, str], tmp_path: Path) -> None:
    root, key = sample
    export(open_lerobot(root), tmp_path / "set.hdf5", "robomimic")
    source = open_robomimic(tmp_path / "set.hdf5", fps=10)
    name = next(name for name, feature in source.features.items() if feature.is_frame)
    store = ColumnStore(source, cache="low_dim")
    expected = ColumnStore(open_lerobot(root), cache="ram")
    rows = np.arange(4)
    np.testing.assert_array_equal(read(store, name, rows), read(expected, key, rows))
    assert store.cameras.plans[name].kept == "memory"


def test_plan_is_shown_before_anything_is_built(video: tuple[Path, str]) -> None:
    root, key = video
    text = io.StringIO()
    console = Console(file=text, width=200)
    for _ in range(2):
        store = ColumnStore(open_lerobot(root), cache="uint8")
        prepare_frames(store, [key], is_shown=True, console=console)
    lines = text.getvalue().splitlines()
    assert lines[0] == f"frames of {root} (122 frames of 1 camera, cache: uint8)"
    assert lines[1].startswith(f"  {key}  uint8 on disk, 4.5 MB, about ")
    assert lines[1].endswith(" to build: cache: uint8")
    assert lines[2].startswith("  together 4.5 MB in about ")
    assert lines[3] == "  nothing is decoded for a batch: data.num_workers: 0 is fastest"
    assert len(lines) == 4


def test_factory_says_the_order_and_marks_lossy_frames(
    video: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    root, key = video
    factory = LeRobotFactory(
        str(root), keys=[key], cache="jpeg", order="chunked", chunk_frames=8, chunks_in_flight=4
    )
    dataset = factory.build({"local_rank": 0}, {})["dataset"]
    assert dataset.fingerprint["jpeg"] == key
    assert capsys.readouterr().err.splitlines()[-1] == (
        "order: chunked, 4 runs of up to 8 frames at once; 64 samples are of 3.0 episodes on "
        "average (3.0 if shuffled)"
    )
    factory.build({"local_rank": 1}, {})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("cache", ["low_dim", "uint8"])
def test_forked_loader_reads_after_this_process_did(video: tuple[Path, str], cache: Any) -> None:
    root, key = video
    dataset = WindowDataset(ColumnStore(open_lerobot(root), cache=cache), {key: [-1, 0]}, [key])
    expected = dataset.__getitems__(np.arange(24))[key]
    loader: Any = DataLoader(
        dataset,  # type: ignore[arg-type] # as strangers use it
        batch_size=8,
        num_workers=2,
        collate_fn=lambda batch: batch,
        multiprocessing_context="fork",
        timeout=60,
    )
    found = [batch[key] for _number, batch in zip(range(3), loader, strict=False)]
    for number, batch in enumerate(found):
        np.testing.assert_array_equal(batch, expected[8 * number : 8 * number + 8])
