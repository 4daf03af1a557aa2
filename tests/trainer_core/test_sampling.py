from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_core.sampling import SampleOrder, order_of, permutation


@given(st.integers(1, 300), st.integers(0, 2**31), st.integers(0, 5))
def test_permutation_has_every_sample_once(size: int, seed: int, epoch: int) -> None:
    assert np.array_equal(np.sort(permutation(size, seed, epoch)), np.arange(size))


def test_permutation_is_a_fixed_function() -> None:
    assert permutation(8, 0, 0).tolist() == [5, 0, 4, 3, 7, 1, 2, 6]


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(permutation(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 30))
def test_any_range_equals_the_endless_order(size: int, start: int, length: int) -> None:
    order = SampleOrder(size, seed=1)
    endless = np.concatenate([permutation(size, 1, epoch) for epoch in range(80)])
    assert np.array_equal(order.indices(start, start + length), endless[start : start + length])


def test_batch_cut_in_ranks_is_the_same_batch() -> None:
    order = SampleOrder(10, seed=1)
    ranks = [order.indices(8 + 2 * rank, 10 + 2 * rank) for rank in range(3)]
    assert np.array_equal(np.concatenate(ranks), order.indices(8, 14))


def test_unshuffled_order_is_that_of_the_data() -> None:
    assert SampleOrder(3, 0, shuffle=False).indices(1, 5).tolist() == [1, 2, 0, 1]


def test_empty_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="the data set is empty"):
        SampleOrder(0, 0)


class Backwards:
    """A data set of three samples that asks to be read from its end."""

    def __len__(self) -> int:
        return 3

    def sample_order(self, seed: int) -> Backwards:
        assert seed == 5
        return self

    def indices(self, start: int, stop: int) -> Any:
        return 2 - np.arange(start, stop) % 3


def test_data_set_is_read_in_its_own_order() -> None:
    order = order_of(Backwards(), 5)
    assert (order.size, order.seed) == (3, 5)
    assert order.indices(1, 6).tolist() == [1, 0, 2, 1, 0]


def test_data_set_without_an_order_is_shuffled() -> None:
    class Plain(Backwards):
        def sample_order(self, seed: int) -> Any:
            return None

    assert order_of([1, 2, 3], 0).indices(0, 3).tolist() == permutation(3, 0, 0).tolist()
    assert isinstance(order_of(Plain(), 0), SampleOrder)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([0.5, 1.0], "the data set's order returned float64 [2] for 2 positions; expected as many"),
        ([0], "the data set's order returned int64 [1] for 2 positions; expected as many integers"),
        ([0, 3], "the data set's order leaves its samples 0 to 2"),
        ([-1, 0], "the data set's order leaves its samples 0 to 2"),
    ],
)
def test_wrong_order_of_a_data_set_is_refused(found: Any, message: str) -> None:
    class Wrong(Backwards):
        def indices(self, start: int, stop: int) -> Any:
            return np.asarray(found)

    with pytest.raises(ValueError, match=re.escape(message)):
        order_of(Wrong(), 5).indices(0, 2)
