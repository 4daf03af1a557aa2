"""The Wilson interval of a success rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments_il.sim.statistics import wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(50, 50, 0.929, 1.0), (48, 50, 0.865, 0.989), (45, 50, 0.786, 0.957), (0, 10, 0.0, 0.278)],
)
def test_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-3)


@given(n=st.integers(1, 500), share=st.floats(0, 1))
def test_interval_holds_the_rate_and_is_symmetric(n: int, share: float) -> None:
    successes = round(share * n)
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    assert wilson_interval(n - successes, n) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"got {successes} of {n}$"):
        wilson_interval(successes, n)
