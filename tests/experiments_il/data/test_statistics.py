from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.lerobot_metadata import open_metadata
from experiments_il.data.lerobot_source import LeRobotSource, open_lerobot
from experiments_il.data.statistics import (
    camera_statistics,
    column_statistics,
    extreme_values,
    merge_statistics,
    norm_stats,
)
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tests.experiments_il.data.conftest import MakeDataset

MATRIX = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.floats(-1e3, 1e3)
)


@given(MATRIX)
def test_column_statistics_equal_numpys(values: NDArray[np.float64]) -> None:
    found = column_statistics(values)
    for name, quantile in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q99", 0.99)):
        np.testing.assert_allclose(found[name], np.quantile(values, quantile, axis=0), atol=1e-9)
    np.testing.assert_allclose(found["std"], values.std(axis=0), atol=1e-9)
    assert found["count"].tolist() == [len(values)]


@pytest.mark.parametrize("largest", [1.7e308, 5e-324, 0.0])
def test_extreme_numbers_neither_overflow_nor_vanish(largest: float) -> None:
    found = column_statistics(np.array([[-largest], [largest]]))
    assert (found["mean"][0], found["std"][0], found["max"][0]) == (0.0, largest, largest)


@given(st.lists(MATRIX.map(lambda values: values[:, :1]), min_size=1, max_size=4))
def test_merged_statistics_equal_those_of_the_whole(parts: list[NDArray[np.float64]]) -> None:
    merged = merge_statistics([column_statistics(part) for part in parts])
    whole = column_statistics(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(merged[name], whole[name], atol=1e-6)


def test_merging_leaves_out_quantiles_that_a_part_lacks() -> None:
    full = column_statistics(np.ones((3, 1)))
    old = {name: full[name] for name in ("min", "max", "mean", "std", "count")}
    assert sorted(merge_statistics([old, full])) == ["count", "max", "mean", "min", "std"]


def test_camera_statistics_are_those_of_its_pixels() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), np.uint8)
    found = camera_statistics(frames)
    whole = column_statistics(frames.reshape(-1, 3) / 255)
    assert found["count"].tolist() == [9]
    for name in ("min", "max", "mean", "std", "q01", "q50", "q99"):
        np.testing.assert_allclose(found[name].reshape(3), whole[name], atol=1e-12)


def test_camera_statistics_look_at_fewer_frames_of_long_episodes() -> None:
    found = camera_statistics(np.zeros((1000, 1, 1, 3), np.uint8))
    assert found["count"].tolist() == [177]


def test_norm_stats_hold_what_the_mode_needs(make_dataset: MakeDataset) -> None:
    metadata = open_metadata(make_dataset((3,)))
    modes = {"observation.state": "min_max", "action": "identity"}
    assert norm_stats(modes, metadata.stats, ColumnStore(LeRobotSource(metadata))) == {
        "observation.state": {"mode": "min_max", "min": [0.0, -2.0], "max": [2.0, 0.0]},
        "action": {"mode": "identity"},
    }


def test_missing_quantiles_are_computed_from_the_column(make_dataset: MakeDataset) -> None:
    metadata = open_metadata(make_dataset((101,)))
    found = norm_stats({"action": "quantiles"}, {}, ColumnStore(LeRobotSource(metadata)))
    assert found == {"action": {"mode": "quantiles", "q01": [0.5], "q99": [49.5]}}


@pytest.mark.parametrize(
    ("key", "stats", "message"),
    [
        (
            "index",
            {},
            "'index' is int64 and cannot be normalised with mean_std: only float features are",
        ),
        (
            "observation.images.top",
            {},
            (
                "'observation.images.top' is image and cannot be normalised with mean_std: "
                "the trainer scales frames"
            ),
        ),
        (
            "action",
            {"mean": [0.0, 1.0], "std": [1.0]},
            "meta/stats.json: 'mean' of 'action' must hold finite numbers of shape [1]",
        ),
        (
            "action",
            {"mean": [float("nan")], "std": [1.0]},
            "meta/stats.json: 'mean' of 'action' must hold finite numbers of shape [1]",
        ),
        (
            "action",
            {"mean": "zero", "std": [1.0]},
            "meta/stats.json: 'mean' of 'action' must hold finite numbers of shape [1]",
        ),
    ],
)
def test_what_cannot_be_normalised_is_refused(
    make_dataset: MakeDataset, key: str, stats: dict[str, object], message: str
) -> None:
    store = ColumnStore(open_lerobot(make_dataset(camera=True)))
    with pytest.raises(DatasetError) as caught:
        norm_stats({key: "mean_std"}, {key: stats}, store)
    assert str(caught.value) == message


@pytest.mark.parametrize("statistics", [{}, {"min": [], "max": []}, {"min": "a", "max": "b"}])
def test_unknown_extremes_are_none(statistics: dict[str, object]) -> None:
    assert extreme_values(statistics) == (None, None)
