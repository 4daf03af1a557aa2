from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer_core.checkpoint.packing import pack, unpack
from trainer_core.errors import CheckpointError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=12,
)


@given(TREES)
def test_any_tree_comes_back_from_json(tree: Any) -> None:
    data, tensors = pack(tree)
    assert unpack(json.loads(json.dumps(data)), tensors) == tree


def test_tensors_are_kept_apart_by_path() -> None:
    data, tensors = pack({"a": [torch.ones(2), {"b": torch.zeros(1)}]}, "ema")
    assert sorted(tensors) == ["ema.a.0", "ema.a.1.b"]
    assert torch.equal(unpack(data, tensors)["a"][0], torch.ones(2))


def test_counter_and_array_scalars_are_understood() -> None:
    data, tensors = pack({"milestones": Counter({3: 1}), "n": np.int64(4)})
    restored = unpack(json.loads(json.dumps(data)), tensors)
    assert type(restored["milestones"]) is Counter
    assert restored == {"milestones": Counter({3: 1}), "n": 4}


def test_keys_that_look_like_marks_are_kept() -> None:
    data, tensors = pack({"$tensor": "x"})
    assert unpack(data, tensors) == {"$tensor": "x"}


def test_object_that_cannot_be_saved_is_named() -> None:
    with pytest.raises(CheckpointError) as caught:
        pack({"a": [object()]}, "scheduler")
    assert str(caught.value) == "scheduler.a.0 is a object, which a checkpoint cannot hold"


def test_missing_tensor_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"the tensor 'x' is missing"):
        unpack({"$tensor": "x"}, {})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"$items": [[2]]}, "'$items' is followed by '[[2]]', which no checkpoint has"),
        ({"$items": [[1, 2, 3]]}, "'$items' is followed by '[[1, 2, 3]]', which no checkpoint has"),
        ({"$items": [[[], 1]]}, "'$items' is followed by '[[[], 1]]', which no checkpoint has"),
        ({"$counter": "x"}, "'$items' is followed by 'x', which no checkpoint has"),
        ({"$tuple": 3}, "'$tuple' is followed by '3', which no checkpoint has"),
        ({"$tensor": [["x", 3]]}, "the tensor [['x', 3]] is missing"),
    ],
)
def test_mark_with_something_else_behind_it_is_refused(data: Any, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        unpack(data, {})
    assert str(caught.value) == message
