"""Samples in runs: every sample once an epoch, any place of the order found at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments_il.data.chunked_order import ChunkedOrder, Chunks, Runs
from experiments_il.data.column_store import ColumnStore
from experiments_il.data.dataset import WindowDataset
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.run_buffer import RunBuffer
from trainer_core.loader import BatchSource
from trainer_core.sampling import order_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tests.experiments_il.data.conftest import MakeDataset

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=8).map(np.array)


@given(lengths, st.integers(1, 12))
def test_runs_cover_every_sample_and_cross_no_episode(of: NDArray[np.int64], most: int) -> None:
    runs = Runs(of, most)
    assert runs.length.max() <= most
    assert runs.length.min() >= 1
    stops = runs.start + runs.length
    assert np.array_equal(runs.start[1:], stops[:-1])
    assert (runs.start[0], stops[-1]) == (0, of.sum())
    assert set(np.cumsum(of).tolist()) <= set(stops.tolist())
    samples = np.arange(of.sum())
    assert np.array_equal(runs.episode[runs.of(samples)], np.repeat(np.arange(len(of)), of))


@settings(max_examples=25)
@given(lengths, st.integers(1, 12), st.integers(1, 9), st.integers(0, 3))
def test_epoch_has_every_sample_once(
    of: NDArray[np.int64], most: int, in_flight: int, epoch: int
) -> None:
    size = int(of.sum())
    order = ChunkedOrder(Runs(of, most), in_flight, seed=3)
    found = order.indices(epoch * size, (epoch + 1) * size)
    assert np.array_equal(np.sort(found), np.arange(size))


@settings(max_examples=25)
@given(lengths, st.integers(1, 5), st.integers(0, 200), st.integers(0, 60))
def test_any_part_equals_that_of_the_whole(
    of: NDArray[np.int64], in_flight: int, start: int, length: int
) -> None:
    runs = Runs(of, 6)
    whole = ChunkedOrder(runs, in_flight, seed=3).indices(0, 300)
    part = ChunkedOrder(runs, in_flight, seed=3).indices(start, start + length)
    assert np.array_equal(part, whole[start : start + length])


def test_no_more_runs_play_than_are_allowed() -> None:
    runs = Runs(np.full(20, 60), 10)
    run = runs.of(ChunkedOrder(runs, 4, seed=0).indices(0, 1200))
    playing = [len(np.unique(run[first : first + 8])) for first in range(0, 1200, 8)]
    assert max(playing) <= 8  # four, and those that begin within these two rounds
    assert np.mean(playing) < 5


def test_seeds_and_epochs_differ() -> None:
    runs = Runs(np.full(4, 30), 10)
    seen = {
        tuple(ChunkedOrder(runs, 3, seed).indices(120 * epoch, 120 * epoch + 40).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(seen) == 9


class CountingReader:
    """Frames that are their own row numbers."""

    def gather(self, rows: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        frames = rows[..., None, None, None]
        if out is None:
            return frames
        out[:] = frames
        return out


def test_each_run_is_decoded_once_and_windows_share_frames() -> None:
    of = np.full(6, 50)
    runs, rows = Runs(of, 10), np.arange(300)
    spans = np.stack([runs.episode * 50, runs.episode * 50 + 50])
    buffer = RunBuffer(CountingReader(), runs, rows, spans, (-1, 0), in_flight=4)
    order = ChunkedOrder(runs, 4, seed=0)
    for first in range(0, 300, 20):
        samples = order.indices(first, first + 20)
        windows = np.maximum(samples[:, None] + np.array([-1, 0]), samples[:, None] // 50 * 50)
        found = buffer.gather(windows, samples)
        assert np.array_equal(found[..., 0, 0, 0], windows)
    # One frame more for the window of each run that does not begin its episode; three runs are
    # cut where two lanes meet, and may be decoded twice.
    assert 300 + 24 <= buffer.decoded <= 300 + 24 + 3 * 11
    assert len(buffer._blocks) <= 4


def test_batches_in_runs_equal_the_samples_themselves(make_dataset: MakeDataset) -> None:
    store = ColumnStore(open_lerobot(make_dataset((9, 4, 11), camera=True)), cache="low_dim")
    camera = "observation.images.top"
    offsets = {camera: [-2, 0], "action": [0, 1]}
    chunked = WindowDataset(store, offsets, chunks=Chunks(frames=4, in_flight=3))
    plain = WindowDataset(store, offsets)
    order = order_of(chunked, seed=1)
    fetch = BatchSource(chunked, order, global_batch=5).iterate(10)
    for first in range(10, 70, 5):
        batch, expected = fetch(), plain.__getitems__(order.indices(first, first + 5))
        for key, values in expected.items():
            assert batch[key].tolist() == values.tolist(), key
    assert chunked.fingerprint["order"] == "chunked 4 3"


def test_workers_and_ranks_see_the_order_of_one_process(make_dataset: MakeDataset) -> None:
    store = ColumnStore(open_lerobot(make_dataset((9, 4, 11))))
    dataset = WindowDataset(store, chunks=Chunks(frames=4, in_flight=3))
    order = order_of(dataset, seed=1)
    whole = BatchSource(dataset, order, global_batch=4).iterate(8)
    workers = BatchSource(dataset, order, global_batch=4, num_workers=2).iterate(8)
    ranks = [
        BatchSource(dataset, order_of(dataset, 1), global_batch=4, rank=rank, world_size=2)
        for rank in range(2)
    ]
    parts = [rank.iterate(8) for rank in ranks]
    for _ in range(6):
        expected = whole()["index"].tolist()
        assert workers()["index"].tolist() == expected
        assert parts[0]()["index"].tolist() + parts[1]()["index"].tolist() == expected
