"""Memory of a process that reads a data set epoch after epoch, and of its loader processes.

Six episodes of two h264 cameras are read for some epochs: decoded at random, decoded in runs, from
JPEG, from arrays, and decoded by two forked loader processes after this process has read an item.
What is printed is the memory that these processes have for themselves after each epoch, and by how
much it grew from the first to the last; the goal is 5 % or less.

    OMP_NUM_THREADS=1 python -m benchmarks.dataset_memory [--epochs 3]
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from benchmarks.frame_loader import write_dataset

from experiments_il.data.chunked_order import Chunks
from experiments_il.data.column_store import ColumnStore
from experiments_il.data.dataset import WindowDataset
from experiments_il.data.lerobot_source import open_lerobot
from trainer_core.loader import BatchSource
from trainer_core.sampling import order_of

if TYPE_CHECKING:
    from collections.abc import Sequence

EPISODES, LENGTH, BATCH = 6, 100, 16
CAMERAS = ["observation.images.left", "observation.images.right"]
GOAL = 0.05


def private_mb(pids: Sequence[int]) -> float:
    """Return the memory that only these processes have, in MB."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").split()
        total += int(fields[fields.index("Private_Dirty:") + 1])
    return total / 1e3


def children() -> list[int]:
    """Return the processes that this one started."""
    found = Path(f"/proc/self/task/{Path('/proc/self').resolve().name}/children")
    return [int(pid) for pid in found.read_text(encoding="ascii").split()]


def read_epochs(dataset: WindowDataset, epochs: int, num_workers: int) -> list[float]:
    """Return the memory after each epoch."""
    order = order_of(dataset, 0)
    dataset.__getitems__([0])
    fetch = BatchSource(dataset, order, global_batch=BATCH, num_workers=num_workers).iterate(0)
    found = []
    for _ in range(epochs):
        for _ in range(len(dataset) // BATCH):
            fetch()
        gc.collect()
        found.append(private_mb([int(Path("/proc/self").resolve().name), *children()]))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=3)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "videos"
        spec = {"dtype": "video", "shape": [120, 160, 3]}
        write_dataset(root, dict.fromkeys(CAMERAS, spec), EPISODES, LENGTH)
        offsets: dict[str, Any] = {camera: range(-1, 1) for camera in CAMERAS}
        for name, cache, chunks, workers in (
            ("decoded at random", "low_dim", None, 0),
            ("decoded in runs", "low_dim", Chunks(32, 8), 0),
            ("JPEG", "jpeg", None, 0),
            ("arrays", "uint8", None, 0),
            ("decoded by 2 processes", "low_dim", None, 2),
        ):
            store = ColumnStore(open_lerobot(root), Path(folder), cache=cache)  # type: ignore[arg-type] # a table of literals
            found = read_epochs(WindowDataset(store, offsets, chunks=chunks), epochs, workers)
            growth = found[-1] / found[0] - 1
            steps = " ".join(f"{megabytes:7.1f}" for megabytes in found)
            print(f"{name:24} {steps} MB; {100 * growth:+.1f} % (goal {100 * GOAL:.0f} % or less)")


if __name__ == "__main__":
    main()
