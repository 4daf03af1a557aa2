"""Paired comparison of two policies, against SciPy and by hand."""

import pytest
from scipy.stats import binomtest

from experiments_il.evaluation.comparison import PairedComparison, compare_episodes


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 9), (9, 1), (4, 4), (0, 6)])
def test_p_value_is_that_of_the_binomial_test(only_a: int, only_b: int) -> None:
    comparison = PairedComparison(both=20, only_a=only_a, only_b=only_b, neither=3)
    n = only_a + only_b
    wanted = binomtest(only_a, n).pvalue if n else 1.0
    assert comparison.p_value == pytest.approx(wanted)


def test_interval_of_the_difference_is_the_adjusted_one() -> None:
    comparison = PairedComparison(both=30, only_a=2, only_b=12, neither=6)
    assert comparison.difference == pytest.approx(0.2)
    center, half = 10 / 52, 1.959964 * ((16 / 52 - (10 / 52) ** 2) / 52) ** 0.5
    assert comparison.ci95 == pytest.approx((center - half, center + half))


def test_only_episodes_of_both_count() -> None:
    first: list[dict[str, object]] = [{"episode": n, "success": n < 3} for n in range(6)]
    second: list[dict[str, object]] = [{"episode": n, "success": True} for n in range(1, 8)]
    second[0]["error"] = "MujocoException: unstable"
    found = compare_episodes(first, second)
    assert found == PairedComparison(both=1, only_a=0, only_b=3, neither=0)


def test_without_common_episodes_there_is_no_comparison() -> None:
    assert compare_episodes([{"episode": 0, "success": True}], []) is None
