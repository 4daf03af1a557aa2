"""The short form of the benchmark of scores: noisy demonstrations rank below clean ones."""

from pathlib import Path

import pytest
from benchmarks.demonstration_scores import auc, mixed_demonstrations, score, write_table


def test_clean_demonstrations_rank_above_noisy_ones(tmp_path: Path) -> None:
    data = mixed_demonstrations(tmp_path, "reach-v3", 5, 0.6)
    row = score(tmp_path, data, "reach-v3", 0.6, 0, steps=150)
    assert row["auc"] >= 0.8
    write_table([row], tmp_path / "out")
    page = (tmp_path / "out/demonstration_scores.md").read_text(encoding="utf-8")
    assert f"| reach-v3 | 0.6 | 0 | **{row['auc']:.3f}** |" in page


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [([2.0, 3.0], [0.0, 1.0], 1.0), ([0.0], [1.0], 0.0), ([1.0], [1.0], 0.5)],
)
def test_auc_counts_pairs(good: list[float], bad: list[float], expected: float) -> None:
    assert auc(good, bad) == expected
