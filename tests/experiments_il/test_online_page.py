"""The page of `benchmarks.online`: pooled counts, intervals and a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.online_page import difference_interval, to_page

ROOT = Path(__file__).parents[2]


def row(runner: str, seed: int, before: int, after: int) -> dict[str, Any]:
    solved = {
        str(step): [goal < count for goal in range(10)]
        for step, count in ((20, before), (80, after))
    }
    return {
        "runner": runner,
        "seed": seed,
        "offline_steps": 20,
        "steps": 80,
        "noise": 0.0,
        "solved": solved,
        "curve": {"20": before, "80": after},
        "wall_s": 12.3,
        "online": {} if runner == "local" else {"online/episodes": 7.0},
        "changes": [],
        "commit": "abc1234",
        "torch": "2.13",
        "options": {} if runner == "local" else {"rollout": {"max_steps": 150}},
    }


SCRIPT = [*range(10, 90, 10), 200, None]


def test_interval_of_a_difference_is_that_of_the_paper() -> None:
    assert difference_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert difference_interval(10, 10, 0, 20) == pytest.approx((0.6791, 1.0), abs=1e-4)


def test_page_pools_the_seeds_and_judges() -> None:
    rows = [row("local", 0, 5, 6), row("ray_online", 0, 5, 9), row("local", 1, 4, 6)]
    page = to_page([*rows, row("ray_online", 1, 4, 8)], SCRIPT)
    assert (
        "| all | 9/20 = 45% (26 to 66) | 12/20 = 60% (39 to 78) | 17/20 = 85% (64 to 95) |" in page
    )
    assert (
        "Goal: at least 10 points better than the demonstrations alone at equal gradient steps. "
        "Met: +25 points (-3 to +48)."
    ) in page
    assert (
        "Of 20 pairs of the same seed and goal, 5 are solved online alone and 0 from the "
        "demonstrations alone: p = 0.062 (exact sign test, two-sided)."
    ) in page
    assert (
        "The script that gave the demonstrations solves 9/10 = 90% (60 to 98) of these goals "
        "itself. Of the 3 failures of the online trainings, 2 are on goals where it fails, and 1 "
        "on goals that take it longer than a rollout may last (150 steps)."
    ) in page
    assert "| ray_online | 1 | 12 | 7 |  |  |  |  |  |" in page


def test_page_of_an_unfinished_measurement_says_so() -> None:
    page = to_page([row("local", 0, 5, 6)], SCRIPT)
    assert "Not measured yet." in page
    assert "| 0 | 5/10 = 50% (24 to 76) | 6/10 = 60% (31 to 83) | - |" in page


def test_committed_page_and_the_guide_are_those_of_the_raw_rows() -> None:
    results = ROOT / "benchmarks" / "results"
    raw = json.loads((results / "online.json").read_text(encoding="utf-8"))
    page = to_page(raw["rows"], raw["script"])
    assert (results / "online.md").read_text(encoding="utf-8") == page
    guide = (ROOT / "docs" / "how-to" / "learn-online.md").read_text(encoding="utf-8")
    table = page.partition("## Success\n\n")[2].partition("\n\n")[0]
    assert table in guide
