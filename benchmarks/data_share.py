"""What a step waits for its data: the loop's own calls against a step of 5 ms, as on a fast GPU.

Numbers only: 200 episodes of 300 frames, state 14, action 14; an action chunk of 40, a state
history of 2, their pad masks and every scalar of the frame; state and action are normalised.
Between two batches the processor multiplies matrices for some milliseconds, so that caches are as
cold as in a run. CPU time of the calling thread, which is what the step waits for on a machine that
has a processor for it; the parts are those of the loop: seeding, order and gather, normalisation.

Run it as `OMP_NUM_THREADS=1 python -m benchmarks.data_share`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from benchmarks.lowdim_loader import OFFSETS, WIDTH, write_dataset

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.dataset import WindowDataset
from experiments_il.data.lerobot_source import open_lerobot
from trainer_core.loader import BatchSource
from trainer_core.normalize import Normalizer
from trainer_core.sampling import order_of
from trainer_core.seeding import make_step_seeder

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.protocols import Batch

STEP_MS, GOAL = 5.0, 0.02
BATCHES = (32, 64, 128, 256)
PARTS = ("seed", "fetch", "normalise")
WORK = 384


class Waiting:
    """The data of one run's steps, with the time that each part takes.

    Args:
        dataset: The data set.
        batch: Samples of a step.
        normalizer: Of the batch.
    """

    def __init__(self, dataset: WindowDataset, batch: int, normalizer: Normalizer) -> None:
        self.normalize = normalizer.for_batches()
        self.spent: dict[str, list[int]] = {part: [] for part in PARTS}
        self.reseed = make_step_seeder(0, torch.device("cpu"))
        self.step = self.inside = 0
        source = BatchSource(
            dataset, order_of(dataset, 0), global_batch=batch, prepare=self.prepare
        )
        self.fetch: Callable[[], Batch] = source.iterate(0)

    def prepare(self, batch: Batch) -> Batch:
        """Normalise what was read, as the loop has it done: of one step or of several."""
        began = time.thread_time_ns()
        normalized = self.normalize(batch)
        self.inside = time.thread_time_ns() - began
        return normalized

    def next(self) -> Batch:
        """Return the next batch as the loop gets it."""
        clock = time.thread_time_ns
        began, self.inside = clock(), 0
        self.reseed(self.step, 0)
        seeded = clock()
        batch = self.fetch()
        fetched = clock() - seeded
        self.step += 1
        for part, spent in zip(
            PARTS, (seeded - began, fetched - self.inside, self.inside), strict=True
        ):
            self.spent[part].append(spent)
        return batch

    def show(self, batch: int, warm_up: int) -> None:
        """Print the means, and their sum as a share of the step."""
        parts = {part: statistics.mean(times[warm_up:]) / 1e3 for part, times in self.spent.items()}
        total = sum(parts.values())
        share = total / (1e3 * STEP_MS)
        words = ", ".join(f"{part} {microseconds:.0f}" for part, microseconds in parts.items())
        goal = f" (goal {GOAL:.0%})" if batch >= 64 else ""
        print(f"B={batch:<4} {total:6.0f} us ({words}): {share:.1%} of {STEP_MS:g} ms{goal}")


def work(matrix: torch.Tensor) -> None:
    """Keep the processor and its caches busy with something else."""
    matrix @ matrix


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        write_dataset(root)
        dataset = WindowDataset(ColumnStore(open_lerobot(root)), OFFSETS)
        statistics_ = {"mode": "mean_std", "mean": [0.1] * WIDTH, "std": [0.9] * WIDTH}
        normalizer = Normalizer(dict.fromkeys(OFFSETS, statistics_))
        runs = {batch: Waiting(dataset, batch, normalizer) for batch in BATCHES}
        matrix = torch.randn(WORK, WORK)
        warm_up = options.steps // 10
        for _ in range(options.steps + warm_up):
            for run in runs.values():
                run.next()
                work(matrix)
        for batch, run in runs.items():
            run.show(batch, warm_up)


if __name__ == "__main__":
    main()
