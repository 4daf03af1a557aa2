"""The ring against a list from which the oldest episodes are taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_ray.online.ring import Column, Ring

COLUMNS = {"x": Column((2,), np.dtype("float32")), "n": Column((), np.dtype("int64"))}
LENGTHS = st.lists(st.integers(1, 12), max_size=40)


def _filled(lengths: list[int], capacity: int = 12) -> tuple[Ring, list[np.ndarray]]:
    """Return a ring, and the episodes that a plain list would have kept."""
    ring = Ring(COLUMNS, capacity, first_frame=1000)
    kept: list[np.ndarray] = []
    first = 0
    for length in lengths:
        frames = np.arange(first, first + length)
        ring.append({"x": np.stack([frames, frames], 1), "n": frames}, version=first)
        first += length
        kept.append(frames)
        while sum(map(len, kept)) > capacity:
            del kept[0]
    return ring, kept


@given(LENGTHS)
def test_a_ring_holds_what_a_list_without_its_oldest_holds(lengths: list[int]) -> None:
    ring, kept = _filled(lengths)
    rows = ring.rows(np.arange(len(ring)))
    assert ring.arrays["n"][rows].tolist() == [int(frame) for part in kept for frame in part]
    assert len(ring) == sum(map(len, kept)) <= ring.capacity
    assert [span.length for span in ring.episodes] == [len(part) for part in kept]


@given(LENGTHS)
def test_every_row_knows_the_edges_and_the_weights_of_its_episode(lengths: list[int]) -> None:
    ring, kept = _filled(lengths)
    rows = ring.rows(np.arange(len(ring)))
    edges = ring.edges(rows)
    assert edges.before.tolist() == [place for part in kept for place in range(len(part))]
    assert edges.after.tolist() == [len(part) - 1 - n for part in kept for n in range(len(part))]
    assert ring.versions(rows).tolist() == [int(part[0]) for part in kept for _ in part]


@given(LENGTHS)
def test_a_number_of_a_frame_finds_its_row_until_it_is_evicted(lengths: list[int]) -> None:
    ring, kept = _filled(lengths)
    numbers = np.arange(1000, 1000 + sum(lengths))
    rows, is_there = ring.find(numbers)
    assert (numbers[is_there] - 1000).tolist() == [int(frame) for part in kept for frame in part]
    assert ring.arrays["n"][rows].tolist() == (numbers[is_there] - 1000).tolist()
    if len(ring):
        assert ring.frames(rows).tolist() == numbers[is_there].tolist()


@given(LENGTHS)
def test_the_arrays_exceed_the_capacity_by_less_than_an_episode(lengths: list[int]) -> None:
    ring, _ = _filled(lengths, capacity=100)
    assert len(ring.before) <= 100 + max(lengths, default=0)


@given(st.lists(LENGTHS, max_size=6))
def test_a_reservation_changes_nothing_that_is_held(batches: list[list[int]]) -> None:
    ring, _ = _filled([length for batch in batches for length in batch])
    other = Ring(COLUMNS, 12)
    first = 0
    for batch in batches:
        other.reserve(batch)
        for length in batch:
            frames = np.arange(first, first + length)
            other.append({"x": np.stack([frames, frames], 1), "n": frames})
            first += length
    held = [each.arrays["n"][each.rows(np.arange(len(each)))].tolist() for each in (ring, other)]
    assert held[0] == held[1]


def test_memory_grows_by_doubling_up_to_the_capacity() -> None:
    ring = Ring({"n": COLUMNS["n"]}, 5000)
    sizes = set()
    for _ in range(300):
        ring.append({"n": np.zeros(50, np.int64)})
        sizes.add(len(ring.before))
    assert sorted(sizes) == [1024, 2048, 4096, 5050]


def test_an_evicted_episode_is_reported_with_its_rows() -> None:
    gone: list[tuple[int, int]] = []
    ring = Ring({"n": COLUMNS["n"]}, 6, on_evict=lambda row, length: gone.append((row, length)))
    for length in (2, 3, 4):
        ring.append({"n": np.zeros(length, np.int64)})
    assert gone == [(0, 2), (2, 3)]


def test_a_reservation_without_memory_leaves_the_ring_as_it_was() -> None:
    ring = Ring({"n": Column((1 << 40,), np.dtype("int64"))}, 1 << 20)
    with pytest.raises(MemoryError):
        ring.reserve([1 << 19])
    assert (len(ring), len(ring.before)) == (0, 0)
