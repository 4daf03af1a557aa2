"""The short form of the benchmark of scores: noisy demonstrations rank below clean ones."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.demonstration_scores import Corruption, Job, auc, measure, write_table


def test_clean_demonstrations_rank_above_noisy_ones(tmp_path: Path) -> None:
    job = Job("reach-v3", Corruption("noise", 0.6), episodes=5, steps=150)
    row = measure(tmp_path, job)
    assert row["auc"] >= 0.8
    assert measure(tmp_path, job) == row
    write_table([row], tmp_path / "out", missing=["push-v3 noise 0.3 seed 0"])
    page = (tmp_path / "out/demonstration_scores.md").read_text(encoding="utf-8")
    assert f"| reach-v3 | noise 0.6 | 0 | **{row['auc']:.3f}** |" in page
    assert page.endswith("Not measured yet: push-v3 noise 0.3 seed 0.\n")


def test_offset_stays_through_an_episode() -> None:
    actions = np.zeros((5, 4), dtype=np.float32)
    added = Corruption("offset", 0.3).corrupt(actions, np.random.default_rng(0))
    assert added.dtype == np.float32
    assert (added == added[0]).all()
    assert len(set(added[0].tolist())) == 4


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [([2.0, 3.0], [0.0, 1.0], 1.0), ([0.0], [1.0], 0.0), ([1.0], [1.0], 0.5)],
)
def test_auc_counts_pairs(good: list[float], bad: list[float], expected: float) -> None:
    assert auc(good, bad) == expected
