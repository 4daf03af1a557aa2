from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments_il.data.windows import frame_offsets
from trainer_core.errors import DatasetError
from trainer_core.windows import EdgeDistances, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=6)
ANY_OFFSETS = st.lists(st.integers(-10, 60), min_size=1, max_size=12)
RANGES = st.tuples(st.integers(-10, 60), st.integers(1, 20)).map(
    lambda span: list(range(span[0], span[0] + span[1]))
)


def edges_of(lengths: list[int], rows: NDArray[np.int64]) -> EdgeDistances:
    before = np.concatenate([np.arange(length) for length in lengths]).astype(np.int32)
    after = np.concatenate([np.arange(length)[::-1] for length in lengths]).astype(np.int32)
    return EdgeDistances(rows, before, after)


def reference(lengths: list[int], row: int, offset: int) -> tuple[int, bool]:
    """Return the row of one frame and whether it is padding, in plain Python."""
    start = 0
    for length in lengths:
        if row < start + length:
            wanted = row + offset
            clamped = min(max(wanted, start), start + length - 1)
            return clamped, clamped != wanted
        start += length
    raise IndexError(row)


@given(lengths=LENGTHS, offsets=st.one_of(ANY_OFFSETS, RANGES), data=st.data())
def test_gather_equals_the_per_item_reference(
    lengths: list[int], offsets: list[int], data: st.DataObject
) -> None:
    total = sum(lengths)
    drawn = data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=20))
    rows = np.array(drawn, np.int64)
    column = np.arange(3 * total, dtype=np.float32).reshape(total, 3)
    window, edges = Window(offsets), edges_of(lengths, rows)
    wanted = [[reference(lengths, row, offset) for offset in offsets] for row in drawn]
    places = np.array([[place for place, _pad in line] for line in wanted])
    np.testing.assert_array_equal(window.gather(column, edges), column[places])
    np.testing.assert_array_equal(window.rows(edges), places)
    np.testing.assert_array_equal(
        window.is_pad(edges), [[pad for _place, pad in line] for line in wanted]
    )


@pytest.mark.parametrize(
    ("row", "offsets", "rows", "pad"),
    [
        (63, [0, 1, 2, 3], [63, 64, 64, 64], [False, False, True, True]),
        (40, [-2, -1, 0], [40, 40, 40], [True, True, False]),
        (39, [1], [39], [True]),
        (65, [-1], [65], [True]),
    ],
)
def test_inner_episode_never_reaches_its_neighbours(
    row: int, offsets: list[int], rows: list[int], pad: list[bool]
) -> None:
    edges = edges_of([40, 25, 57], np.array([row]))
    assert Window(offsets).rows(edges).tolist() == [rows]
    assert Window(offsets).is_pad(edges).tolist() == [pad]


def test_gathered_windows_own_their_memory() -> None:
    column = np.zeros((10, 2), np.float32)
    window = Window(range(3)).gather(column, edges_of([10], np.array([0, 9])))
    window[:] = 1
    assert not column.any()


def test_seconds_become_whole_frames() -> None:
    deltas = {"action": [0.0, 0.30000000000000004, 1.5], "state": [-0.1]}
    assert frame_offsets(deltas, fps=10) == {"action": (0, 3, 15), "state": (-1,)}


def test_fractions_of_a_frame_are_all_listed() -> None:
    with pytest.raises(DatasetError) as caught:
        frame_offsets({"action": [0.0, 0.05], "state": [-0.12]}, fps=10)
    assert str(caught.value) == (
        "delta_timestamps must be multiples of 1/10 s; not so: "
        "action: 0.05 s (nearest: 0 s), state: -0.12 s (nearest: -0.1 s)"
    )
