"""The sum tree against plain sums, and its draws against their probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_ray.online.priorities import SumTree, importance

WEIGHTS = st.floats(0, 100)
FILLS = st.tuples(st.integers(0, 40), st.integers(1, 20), WEIGHTS)


@given(st.lists(FILLS, max_size=20))
def test_filled_rows_have_their_weights_and_the_total_is_their_sum(
    fills: list[tuple[int, int, float]],
) -> None:
    tree, plain = SumTree(), np.zeros(64)
    for first, count, weight in fills:
        tree.fill(first, count, weight)
        plain[first : first + count] = weight
    assert tree.weights(np.arange(len(tree))).tolist() == plain[: len(tree)].tolist()
    assert tree.total == pytest.approx(plain.sum())


@given(st.lists(st.tuples(st.integers(0, 60), WEIGHTS), min_size=1, max_size=40))
def test_set_rows_have_their_weights_and_the_total_is_their_sum(
    pairs: list[tuple[int, float]],
) -> None:
    tree, plain = SumTree(), np.zeros(64)
    tree.fill(0, 10, 1.0)
    plain[:10] = 1.0
    rows, weights = np.array([row for row, _ in pairs]), np.array([weight for _, weight in pairs])
    tree.set(rows, weights)
    plain[rows] = weights
    assert tree.weights(np.arange(len(tree))).tolist() == plain[: len(tree)].tolist()
    assert tree.total == pytest.approx(plain.sum())


@given(st.lists(WEIGHTS, min_size=1, max_size=50), st.integers(0, 1000))
def test_a_row_without_weight_is_never_drawn(weights: list[float], seed: int) -> None:
    tree = SumTree()
    tree.set(np.arange(len(weights)), np.array(weights))
    tree.fill(len(weights), 1, 1e-9)
    drawn = tree.draw(64, np.random.default_rng(seed))
    assert tree.weights(drawn).min() > 0


def test_rows_are_drawn_in_proportion_to_their_weights() -> None:
    tree = SumTree()
    tree.set(np.array([0, 3, 5, 6]), np.array([1.0, 2.0, 0.5, 4.5]))
    drawn = tree.draw(80_000, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=8) / 80_000
    assert shares == pytest.approx([1 / 8, 0, 0, 2 / 8, 0, 0.5 / 8, 4.5 / 8, 0], abs=1e-4)


def test_draws_come_in_no_order() -> None:
    tree = SumTree()
    tree.fill(0, 64, 1.0)
    drawn = tree.draw(64, np.random.default_rng(0))
    assert sorted(drawn.tolist()) == list(range(64))
    assert abs(np.corrcoef(drawn, np.arange(64))[0, 1]) < 0.3


def test_no_rows_may_be_set() -> None:
    tree = SumTree()
    tree.set(np.array([], np.int64), np.array([]))
    assert tree.total == 0


def test_importance_weights_undo_the_priorities() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    weights = importance(shares, frames=3)
    assert weights.max() == 1
    assert weights * shares == pytest.approx([0.2, 0.2, 0.2])
