"""Tables of measured success: what they say about rows, and what the docs show of them."""

import json
import re
from pathlib import Path

import pytest
from benchmarks.equal_time import Timed
from benchmarks.equal_time import to_page as equal_time_page
from benchmarks.metaworld import sign_test, to_page
from benchmarks.trained_policies import Row

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results"


def make_row(policy: str, solved: int, of: int = 50, task: str = "drawer-open-v3") -> Row:
    return Row(
        policy=policy,
        task=task,
        seed=0,
        steps=2000,
        batch_size=256,
        parameters=364_000,
        train_cpu_s=20.04,
        train_wall_s=40.0,
        evaluation_s=10.0,
        solved=[number < solved for number in range(of)],
        mean_steps=60.4,
        demonstrations={"episodes": 50, "frames": 4722, "noise": 0.1, "seed": 0},
        evaluation_seed=1000,
        commit="abc1234",
        torch="2.13.0",
        recipe="il/pick_place",
        digest="0",
    )


def test_rate_and_interval_are_shown() -> None:
    page = to_page([make_row("regression", 50), make_row("flow matching", 45)])
    assert "| drawer-open-v3 | 50/50 = 100% (93 to 100) | 45/50 = 90% (79 to 96) |" in page
    assert "Goal: no policy below 90% on button-press-topdown-v3 and drawer-open-v3. Met." in page


def test_missed_goal_is_said() -> None:
    page = to_page([make_row("VFP", 44)])
    assert "Missed:\n\n- VFP on drawer-open-v3: 44/50, below the goal of 90%." in page


def test_pairs_count_goals_that_one_policy_alone_solves() -> None:
    page = to_page([make_row("flow matching", 40), make_row("VFP", 46)])
    assert "| drawer-open-v3 | VFP | 6 | 0 | 0.031 |" in page


@pytest.mark.parametrize(
    ("better", "worse", "p_value"), [(0, 0, 1.0), (1, 1, 1.0), (5, 0, 0.0625), (1, 9, 0.021484375)]
)
def test_sign_test_is_exact(better: int, worse: int, p_value: float) -> None:
    assert sign_test(better, worse) == p_value


@pytest.mark.parametrize(("solved", "said"), [(49, "Met in every row."), (35, "70% against 73%")])
def test_equal_time_is_held_against_the_best_of_the_others(solved: int, said: str) -> None:
    row = make_row("flow matching", solved, task="peg-insert-side-v3")
    page = equal_time_page([Timed(30, row)])
    assert said in page
    assert "| peg-insert-side-v3 | 30 | *bare flow-matching MLP* | 22/30 = 73% | 56 to 86 |" in page


def test_committed_pages_are_those_of_their_rows() -> None:
    rows = [Row(**each) for each in json.loads((RESULTS / "metaworld.json").read_text())]
    assert (RESULTS / "metaworld.md").read_text() == to_page(rows)
    timed = json.loads((RESULTS / "equal_time.json").read_text())
    found = [Timed(each["budget_s"], Row(**each["row"])) for each in timed]
    assert (RESULTS / "equal_time.md").read_text() == equal_time_page(found)


@pytest.mark.parametrize("name", ["README.md", "docs/explanation/measured-success.md"])
def test_shown_rates_are_those_of_the_results(name: str) -> None:
    shown = re.findall(r"^\| [a-z-]+-v3 .*", (ROOT / name).read_text(), re.MULTILINE)
    known = "".join(page.read_text() for page in RESULTS.glob("*.md")).splitlines()
    assert len(shown) >= 5
    assert set(shown) <= set(known)
