from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trainer_core.datasets import RandomRegression


def test_batch_has_the_shapes_asked_for() -> None:
    data = RandomRegression([2, 3], [4], size=10).build({}, {})
    batch = data["dataset"].__getitems__(np.array([7, 1]))
    assert (batch["x"].shape, batch["y"].shape) == ((2, 2, 3), (2, 4))
    assert batch["index"].tolist() == [7, 1]
    assert "val_dataset" not in data


def test_splits_do_not_share_samples() -> None:
    data = RandomRegression([1], [1], size=6, val_size=4).build({}, {})
    assert (len(data["dataset"]), len(data["val_dataset"])) == (6, 4)
    assert data["val_dataset"].columns["index"].tolist() == [6, 7, 8, 9]


def test_problem_depends_on_its_seed_alone() -> None:
    first, second, other = (
        RandomRegression([2], [1], size=5, data_seed=seed).build({}, {})["dataset"].columns["y"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_shape": [3, -1]}, "x_shape must be at least 1, got -1"),
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"noise": -0.5}, "val_size and noise must not be negative, got 0 and -0.5"),
    ],
)
def test_impossible_size_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomRegression(**{"x_shape": [2], "y_shape": [1], **changes})
