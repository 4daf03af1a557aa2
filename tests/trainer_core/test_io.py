from __future__ import annotations

import pytest

from trainer_core.io import Mapping


def test_paths_reach_into_nested_batches() -> None:
    mapping = Mapping({"x": ["x"], "image": ["images", 1]}, {"y": ["y.z"]})
    batch = {"x": 1, "images": [2, 3], "y.z": 4}
    assert mapping.model_inputs(batch) == {"x": 1, "image": 3}
    assert mapping.loss_targets(batch) == {"y": 4}


def test_missing_key_names_the_nearest() -> None:
    with pytest.raises(LookupError, match="no key 'actoin'; did you mean 'action'"):
        Mapping({"x": ["actoin"]}, {}).model_inputs({"action": 1})
