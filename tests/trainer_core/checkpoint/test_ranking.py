"""The best checkpoint, by what was measured of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from trainer_core.checkpoint.layout import step_name
from trainer_core.checkpoint.ranking import (
    BEST,
    Goal,
    best_steps,
    point_to_best,
    read_best,
    read_metrics,
)

if TYPE_CHECKING:
    from pathlib import Path

VALUES = st.dictionaries(st.integers(0, 99), st.floats(allow_infinity=True))


@given(VALUES)
def test_ranking_is_an_order_of_the_finite_values(values: dict[int, float]) -> None:
    finite = {step: v for step, v in values.items() if abs(v) < float("inf")}
    ranked = best_steps(values, "min")
    assert sorted(ranked) == sorted(finite)
    assert [finite[step] for step in ranked] == sorted(finite.values())
    assert best_steps({s: -v for s, v in values.items()}, "max") == ranked


@given(VALUES, st.integers(0, 99), st.floats(-9, 9))
def test_another_value_does_not_change_the_order_of_the_others(
    values: dict[int, float], step: int, value: float
) -> None:
    values.pop(step, None)
    with_it = best_steps(values | {step: value}, "max")
    assert [s for s in with_it if s != step] == best_steps(values, "max")


def test_best_names_a_checkpoint_that_is_there(tmp_path: Path) -> None:
    goal = Goal("val/loss", "min")
    (tmp_path / step_name(4)).mkdir()
    assert point_to_best(tmp_path, goal, {4: 0.5, 8: 0.1}) == 4
    assert (tmp_path / BEST).read_text() == "step-000000004\nval/loss min 0.5\n"
    assert read_best(tmp_path) == (4, goal)
    assert point_to_best(tmp_path, goal, {8: 0.1}) is None
    assert read_best(tmp_path) is None


def test_damaged_pointer_is_no_pointer(tmp_path: Path) -> None:
    for text in ("", "step-000000004\n", "step-x\nval/loss min 1\n", "../x\nval/loss min 1\n"):
        (tmp_path / BEST).write_text(text)
        assert read_best(tmp_path) is None


def test_only_what_was_measured_of_these_weights_counts(tmp_path: Path) -> None:
    root, metrics = tmp_path / "checkpoints", {"loss": 1.0, "val/loss": 2.0, "eval/x": 3.0}
    for step in (4, 8):
        (root / step_name(step)).mkdir(parents=True)
        state = {"metrics": metrics, "loop": {"validated_step": 8}}
        (root / step_name(step) / "state.json").write_text(json.dumps(state))
    folder = tmp_path / "evaluation" / step_name(4)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"success_rate": 0.5, "ci95": [0, 1]}))
    assert read_metrics(root, 4) == {"loss": 1.0, "eval/success_rate": 0.5}
    assert read_metrics(root, 8) == {"loss": 1.0, "val/loss": 2.0}
    assert read_metrics(root, 9) == {}
