"""Batches of camera frames: videos decoded at random and in runs, JPEG and uint8 caches, images.

The video data set has three cameras of 240x320 at 30 frames per second (h264, a key frame every
second frame); a sample is an action chunk of 40 and the last two frames of every camera. Each way
of reading is held against what it is made of and nothing else (a bare decoder, a bare gather from
mapped arrays) and, with `--lerobot-python PATH` (see `lerobot_peer.py`), against LeRobot's items.
The image data set has 96x96 PNG cells.

Process CPU time on one thread; the candidates take turns, round by round. Run it as
`OMP_NUM_THREADS=1 python -m benchmarks.frame_loader`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from benchmarks.lerobot_peer import Peer, add_option

from experiments_il.data.chunked_order import Chunks
from experiments_il.data.column_store import ColumnStore
from experiments_il.data.dataset import WindowDataset
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.torchcodec_video import import_torchcodec
from experiments_il.data.writer import LeRobotWriter
from trainer_core.errors import UserError
from trainer_core.sampling import order_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Candidate = Callable[[NDArray[np.int64]], Any]

FPS, BATCH = 30, 32
CAMERAS = [f"observation.images.camera_{number}" for number in range(3)]
VIDEO_OFFSETS: dict[str, Sequence[int]] = {
    "action": range(40),
    "observation.state": range(-1, 1),
    **{camera: range(-1, 1) for camera in CAMERAS},
}
IMAGE = "observation.image"
IMAGE_OFFSETS: dict[str, Sequence[int]] = {"action": range(16), IMAGE: range(-1, 1)}
CHUNKS = Chunks(frames=32, in_flight=8)


def pictures(length: int, height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return frames of a textured background that moves and an object that moves over it."""
    down, right = np.mgrid[0:height, 0:width]
    smooth = np.stack([right * 255 // width, down * 255 // height, (right + down) % 256], -1)
    noise = np.random.default_rng(0).integers(-12, 12, (height, width, 3))
    background = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    side = height // 4
    frames = np.empty((length, height, width, 3), np.uint8)
    for time_, frame in enumerate(frames):
        frame[:] = np.roll(background, (2 * time_ + 13 * seed, 3 * time_), (0, 1))
        top = int((height - side) * (0.5 + 0.5 * np.sin(time_ / 15 + seed)))
        left = int((width - side) * (0.5 + 0.5 * np.cos(time_ / 20 + seed)))
        frame[top : top + side, left : left + side] = (40 * seed % 255, 60, time_ % 255)
    return frames


def write_dataset(root: Path, cameras: Mapping[str, Any], episodes: int, length: int) -> None:
    """Write a data set with our own writer; `observation.state` and `action` are noise."""
    random = np.random.default_rng(0)
    names = ("observation.state", "action")
    features = {name: {"dtype": "float32", "shape": [14]} for name in names} | dict(cameras)
    with LeRobotWriter.create(root, fps=FPS, features=features) as writer:
        for episode in range(episodes):
            values: dict[str, Any] = {
                name: random.standard_normal((length, 14), dtype=np.float32) for name in names
            }
            for number, (name, spec) in enumerate(cameras.items()):
                height, width, _channels = spec["shape"]
                values[name] = pictures(length, height, width, 3 * episode + number)
            writer.add_episode(values, "benchmark")


class Turns:
    """Candidates that take turns.

    Args:
        size: Samples of the data set.
        samples: Samples that each reads in a round.
        peer: LeRobot, or None.
    """

    def __init__(self, size: int, samples: int, peer: Peer | None) -> None:
        self.samples = samples
        self.peer = peer
        self.order = np.random.default_rng(1).permutation(size)
        self.candidates: dict[str, Candidate] = {}
        self.in_order: dict[str, tuple[Candidate, Any]] = {}
        self.rates: dict[str, float] = {}
        self.first: dict[str, float] = {}

    def add(self, name: str, read: Candidate, order: Any = None) -> None:
        """Add a candidate: at random places, or one epoch of its own order over all rounds."""
        if order is None:
            self.candidates[name] = read
        else:
            self.in_order[name] = (read, order)

    def run(self, rounds: int) -> None:
        """Measure; `rates` has samples per CPU second of each: the median of the rounds.

        What has its own order is measured over the whole of its second epoch, and in `first` over
        the first, which opens files and takes the memory of the runs.
        """
        for name in self.in_order:
            self.first[name] = 1 / self._read_on(name, 0, 1, epoch=0)
        names = [*self.candidates, *self.in_order, *(["lerobot"] if self.peer else [])]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds + 1):
            rows = np.roll(self.order, -turn * self.samples)[: self.samples]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if name not in self.in_order:
                    spent = self._read(name, rows)
                    seconds[name] += [spent] * bool(turn)  # the first round opens files
                elif turn < rounds:
                    seconds[name].append(self._read_on(name, turn, rounds))
        rates = {name: 1 / statistics.median(times) for name, times in seconds.items()}
        epochs = {name: rounds / sum(seconds[name]) for name in self.in_order}
        self.rates = rates | epochs
        if self.peer is not None:
            self.peer.close()
            print(f"LeRobot items {self.rates['lerobot']:,.1f} samples/s")

    def _read(self, name: str, rows: NDArray[np.int64]) -> float:
        """Return seconds for a sample."""
        if name == "lerobot" and self.peer is not None:
            few = rows[: max(4, len(rows) // 8)].tolist()
            return self.peer.read(few) / len(few)
        return _time(self.candidates[name], rows) / len(rows)

    def _read_on(self, name: str, turn: int, rounds: int, epoch: int = 1) -> float:
        """Return seconds for a sample of one part of an epoch."""
        read, order = self.in_order[name]
        size = len(self.order)
        begin, end = (epoch * size + each * size // rounds for each in (turn, turn + 1))
        return _time(read, order.indices(begin, end)) / (end - begin)

    def show(self, name: str, label: str, limit: str | None = None, goal: str = "") -> None:
        """Print a line about a candidate."""
        rate = self.rates[name]
        line = f"{label:34} {rate:10,.0f} samples/s"
        if limit is not None:
            line += f"; {rate / self.rates[limit]:.2f} of {limit}"
        if "lerobot" in self.rates:
            line += f"; {rate / self.rates['lerobot']:,.1f} x LeRobot"
        if name in self.first:
            line += f"; first epoch {self.first[name]:,.0f}"
        print(line + (f" ({goal})" if goal else ""))


def _time(read: Candidate, samples: NDArray[np.int64]) -> float:
    began = time.process_time()
    for first in range(0, len(samples), BATCH):
        read(samples[first : first + BATCH])
    return time.process_time() - began


def bare_decoders(root: Path) -> dict[str, Candidate]:
    """Return torchcodec alone: sorted pairs of frames at random, and runs of 32 frames."""
    metadata = open_lerobot(root).metadata
    try:
        module = import_torchcodec()
    except UserError:
        return {}
    decoders = [
        module.VideoDecoder(str(metadata.video_path(camera, 0, 0)), num_ffmpeg_threads=1)
        for camera in CAMERAS
    ]
    size = len(decoders[0])

    def at_random(rows: NDArray[np.int64]) -> None:
        wanted = np.unique(np.stack([np.maximum(rows - 1, 0), rows])).tolist()
        for decoder in decoders:
            decoder.get_frames_at(wanted)

    def in_runs(rows: NDArray[np.int64]) -> None:
        # As many frames as samples: windows that overlap need each frame once.
        for first in range(0, len(rows), CHUNKS.frames):
            count = min(CHUNKS.frames, len(rows) - first)
            begin = int(rows[first]) % (size - count)
            for decoder in decoders:
                decoder.get_frames_in_range(begin, begin + count)

    return {"bare random decode": at_random, "bare decode of runs": in_runs}


def bare_gather(arrays: Sequence[NDArray[Any]]) -> Candidate:
    """Return numpy's gather of pairs of frames."""
    return lambda rows: [array[np.stack([np.maximum(rows - 1, 0), rows], 1)] for array in arrays]


def build_caches(root: Path, folder: Path, frames: int) -> dict[str, ColumnStore]:
    """Return the data set in every cache that can be; print sizes and times."""
    stores = {}
    for cache in ("low_dim", "jpeg", "uint8"):
        began = time.perf_counter()
        stores[cache] = ColumnStore(open_lerobot(root), folder / cache, cache=cache)
        for camera in CAMERAS:
            stores[cache].camera(camera)
        built = time.perf_counter() - began
        size = sum(path.stat().st_size for path in (folder / cache).rglob("*") if path.is_file())
        print(f"cache: {cache:8} {size / frames / 1e3:7.1f} kB a frame, built in {built:.1f} s")
    mp4 = sum(path.stat().st_size for path in root.rglob("*.mp4"))
    print(f"mp4             {mp4 / frames / 1e3:7.1f} kB a frame")
    return stores


def add_decoding(turns: Turns, root: Path, folder: Path) -> None:
    """Add both decoders at random and in runs."""
    for decoder in ("pyav", "torchcodec"):
        try:
            store = ColumnStore(open_lerobot(root), folder, cache="low_dim", decoder=decoder)
            at_random = WindowDataset(store, VIDEO_OFFSETS)
        except UserError as error:
            print(f"without {decoder}: {error}")
            continue
        in_runs = WindowDataset(store, VIDEO_OFFSETS, chunks=CHUNKS)
        turns.add(f"random {decoder}", at_random.__getitems__)
        turns.add(f"chunked {decoder}", in_runs.__getitems__, order_of(in_runs, 0))


def measure_videos(folder: Path, options: argparse.Namespace) -> None:
    """Measure and print what concerns videos."""
    root = folder / "videos"
    spec = {"dtype": "video", "shape": [240, 320, 3]}
    write_dataset(root, dict.fromkeys(CAMERAS, spec), options.episodes, options.length)
    size = options.episodes * options.length
    stores = build_caches(root, folder, len(CAMERAS) * size)
    turns = Turns(size, options.samples, open_peer(options, root, VIDEO_OFFSETS, options.backend))
    add_decoding(turns, root, folder / "low_dim")
    for cache in ("jpeg", "uint8"):
        turns.add(cache, WindowDataset(stores[cache], VIDEO_OFFSETS).__getitems__)
    bare = bare_decoders(root)
    for name, candidate in bare.items():
        turns.add(name, candidate)
    turns.add("bare gather", bare_gather([stores["uint8"].frames(camera) for camera in CAMERAS]))
    turns.run(options.rounds)
    limits = ("bare random decode", "bare decode of runs") if bare else (None, None)
    for decoder in ("pyav", "torchcodec"):
        if f"random {decoder}" in turns.rates:
            goal = "goal 2.0 x LeRobot[torchcodec]"
            turns.show(f"random {decoder}", f"mp4 at random, {decoder}", limits[0], goal)
            goal = "goal 0.80 of bare, 6 x LeRobot"
            turns.show(f"chunked {decoder}", f"mp4 in runs of 32, {decoder}", limits[1], goal)
    turns.show("jpeg", "JPEG cache", goal="goal 5 x LeRobot, 35 kB a frame")
    turns.show("uint8", "uint8 cache", "bare gather", "goal 50 x LeRobot")


def open_peer(
    options: argparse.Namespace,
    root: Path,
    offsets: Mapping[str, Sequence[int]],
    backend: str | None = None,
) -> Peer | None:
    """Return LeRobot if it was given."""
    if not options.lerobot_python:
        return None
    peer = Peer(options.lerobot_python, root, offsets, FPS, backend)
    print(f"LeRobot {peer.version} {backend or ''}")
    return peer


def measure_images(folder: Path, options: argparse.Namespace) -> None:
    """Measure and print what concerns images in parquet."""
    root = folder / "images"
    cameras = {IMAGE: {"dtype": "image", "shape": [96, 96, 3]}}
    write_dataset(root, cameras, options.episodes, options.length)
    store = ColumnStore(open_lerobot(root), cache="ram")
    peer = open_peer(options, root, IMAGE_OFFSETS)
    turns = Turns(options.episodes * options.length, options.samples, peer)
    cells = ColumnStore(open_lerobot(root), cache="low_dim")
    turns.add("cells", WindowDataset(cells, IMAGE_OFFSETS).__getitems__)
    turns.add("ram", WindowDataset(store, IMAGE_OFFSETS).__getitems__)
    turns.add("bare gather", bare_gather([store.frames(IMAGE)]))
    turns.run(options.rounds)
    turns.show("cells", "96x96 PNG cells")
    turns.show("ram", "96x96 in memory", "bare gather", "goal 500 x LeRobot")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--length", type=int, default=150)
    parser.add_argument("--samples", type=int, default=128, help="samples a round")
    parser.add_argument("--backend", default="torchcodec", help="LeRobot's video_backend")
    add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure_videos(Path(folder), options)
        measure_images(Path(folder), options)


if __name__ == "__main__":
    main()
