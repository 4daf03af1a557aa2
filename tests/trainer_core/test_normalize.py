from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer_core.errors import DatasetError
from trainer_core.normalize import Normalizer

STATS: dict[str, dict[str, Any]] = {
    "mean_std": {"mode": "mean_std", "mean": [1.0, 5.0], "std": [2.0, 0.0]},
    "min_max": {"mode": "min_max", "min": [0.0, 5.0], "max": [4.0, 5.0]},
    "quantiles": {"mode": "quantiles", "q01": [0.0, 5.0], "q99": [4.0, 5.00005]},
    "identity": {"mode": "identity"},
}


@pytest.mark.parametrize(
    ("key", "normalized"),
    [("mean_std", 1.0), ("min_max", 0.5), ("quantiles", 0.5), ("identity", 3.0)],
)
def test_each_mode_follows_its_formula(key: str, normalized: float) -> None:
    value = Normalizer(STATS).normalize_key(key, torch.tensor([3.0, 5.0]))
    assert float(value[0]) == normalized


@pytest.mark.parametrize("key", ["mean_std", "min_max", "quantiles"])
def test_constant_dimension_maps_to_zero_and_back(key: str) -> None:
    normalizer = Normalizer(STATS)
    zero = normalizer.normalize_key(key, torch.tensor([3.0, 5.0]))
    assert float(zero[1]) == pytest.approx(0.0, abs=1e-4)
    back = normalizer.unnormalize(key, torch.zeros(2))
    assert float(back[1]) == pytest.approx(5.0, abs=1e-4)


@given(
    st.sampled_from(sorted(STATS)),
    st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=2),
)
def test_undoing_returns_the_value(key: str, value: list[float]) -> None:
    normalizer = Normalizer(STATS)
    there = normalizer.normalize_key(key, torch.tensor(value))
    assert torch.allclose(normalizer.unnormalize(key, there), torch.tensor(value), atol=1e-4)


def test_only_known_keys_of_a_batch_change() -> None:
    batch = {"min_max": torch.ones(3, 2), "other": torch.ones(3)}
    normalized = Normalizer(STATS)(batch)
    assert normalized["other"] is batch["other"]
    assert torch.equal(batch["min_max"], torch.ones(3, 2))


def test_image_bytes_are_scaled_before_their_statistics() -> None:
    normalizer = Normalizer({"image": {"mode": "mean_std", "mean": [[[0.5]]], "std": [[[0.5]]]}})
    value = normalizer.normalize_key("image", torch.full((1, 1, 2, 2), 255, dtype=torch.uint8))
    assert torch.equal(value, torch.ones(1, 1, 2, 2))


def test_json_makes_an_equal_normalizer() -> None:
    data = json.loads(json.dumps(Normalizer(STATS).to_json()))
    again = Normalizer(data).normalize_key("min_max", torch.tensor([1.0, 5.0]))
    assert torch.equal(again, Normalizer(STATS).normalize_key("min_max", torch.tensor([1.0, 5.0])))


@pytest.mark.parametrize(
    ("stats", "message"),
    [
        (
            {"mode": "z"},
            "norm_stats['a'] has the mode 'z'; known: identity, mean_std, min_max, quantiles",
        ),
        ({"mode": "min_max", "min": [0]}, "norm_stats['a'] has the mode 'min_max' and no 'max'"),
        (
            {"mode": "min_max", "min": [0], "max": [1, 2]},
            "norm_stats['a']: min has the shape (1,), max (2,)",
        ),
        (
            {"mode": "mean_std", "mean": [float("nan")], "std": [1]},
            "norm_stats['a']['mean'] has a value that is not finite",
        ),
    ],
)
def test_unusable_statistics_are_named(stats: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        Normalizer({"a": stats})
    assert str(caught.value) == message


def test_unknown_key_cannot_be_undone() -> None:
    with pytest.raises(KeyError, match="no key 'minmax'; did you mean 'min_max'"):
        Normalizer(STATS).unnormalize("minmax", torch.ones(2))


def test_batches_of_a_run_are_normalized_bit_for_bit_alike() -> None:
    stats = {"mode": "mean_std", "mean": [0.1, 5.0], "std": [0.7, 3.0]}
    scalar = {"mode": "min_max", "min": [0.0], "max": [3.0]}
    keys = ("row", "window", "long", "double", "whole")
    normalizer = Normalizer({**dict.fromkeys(keys, stats), "scalar": scalar, "absent": scalar})
    batch = {
        "row": torch.randn(4, 2),
        "window": torch.randn(4, 5, 2),
        "long": torch.randn(2, 9000, 2),
        "double": torch.randn(4, 2, dtype=torch.float64),
        "whole": torch.arange(8).reshape(4, 2),
        "scalar": torch.randn(4),
        "other": torch.ones(4),
    }
    normalize = normalizer.for_batches()
    for _ in range(2):
        found, expected = normalize(batch), normalizer.normalize(batch)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(found[key], value), key
            assert found[key].dtype == value.dtype
