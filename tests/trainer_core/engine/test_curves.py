from __future__ import annotations

import re
from typing import Any

from trainer_core.engine.curves import collect_series, draw_svg


def test_numbers_become_series_and_the_rest_is_left() -> None:
    records: list[dict[str, Any]] = [
        {"step": 1, "epoch": 0.1, "loss": 1.0, "note": "x"},
        {"step": 2, "epoch": 0.2, "loss": None, "lr": 1},
    ]
    assert collect_series(records) == {"loss": [(1, 1.0)], "lr": [(2, 1.0)]}


def test_long_series_is_thinned_to_its_ends() -> None:
    series = collect_series([{"step": step, "loss": 0.0} for step in range(5000)])["loss"]
    assert len(series) < 700
    assert (series[0][0], series[-1][0]) == (0, 4999)


def test_flat_curve_can_be_drawn() -> None:
    svg = draw_svg({"loss": [(0, 1.0), (5, 1.0)]})
    assert svg.count("<polyline") == 1
    assert "nan" not in svg


def test_steep_curve_is_drawn_on_a_logarithmic_axis() -> None:
    steep = draw_svg({"a": [(0, 100.0), (1, 10.0), (2, 1.0)]})
    straight = draw_svg({"a": [(0, 3.0), (1, 2.0), (2, 1.0)]})
    assert re.findall(r"points='[^']+'", steep) == re.findall(r"points='[^']+'", straight)


def test_several_curves_are_named() -> None:
    svg = draw_svg({"a<b": [(0, 1.0), (5, 2.0)], "c": [(3, 1.0)]})
    assert svg.count("<polyline") == 2
    assert ">a&lt;b</text>" in svg
    assert "<circle" in svg


def test_values_that_cannot_be_drawn_are_left_out() -> None:
    records = [{"step": 1, "loss": value} for value in (float("nan"), float("inf"), 10**400, 1)]
    assert collect_series(records) == {"loss": [(1, 1.0)]}
