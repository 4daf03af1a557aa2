from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trainer_core.tree import (
    batch_size,
    cast_dtype,
    move_to_device,
    select,
    slice_batch,
    to_tensors,
    tree_flatten,
    tree_map,
)


def test_tree_map_reaches_every_leaf() -> None:
    assert tree_map(lambda x: x + 1, {"a": [1, (2, 3)]}) == {"a": [2, (3, 4)]}


def test_flattened_tree_is_put_together_again() -> None:
    leaves, unflatten = tree_flatten({"a": [1, 2], "b": 3})
    assert unflatten([leaf * 10 for leaf in leaves]) == {"a": [10, 20], "b": 30}


def test_move_keeps_what_is_no_tensor() -> None:
    moved = move_to_device({"x": torch.ones(2), "l": [torch.ones(1), "s"]}, "meta")
    assert moved["x"].device.type == moved["l"][0].device.type == "meta"
    assert moved["l"][1] == "s"


def test_cast_changes_floating_tensors_only() -> None:
    cast = cast_dtype({"f": torch.ones(1), "i": torch.ones(1, dtype=torch.int64)}, torch.bfloat16)
    assert (cast["f"].dtype, cast["i"].dtype) == (torch.bfloat16, torch.int64)


def test_read_only_arrays_become_tensors_without_warning() -> None:
    array = np.arange(3)
    array.flags.writeable = False
    assert to_tensors([array])[0].tolist() == [0, 1, 2]


def test_batch_size_is_the_first_length() -> None:
    assert batch_size({"name": "x", "nested": {"y": torch.ones(3, 2)}}) == 3


def test_batch_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"it has the keys \['scalar'\]"):
        batch_size({"scalar": torch.ones(())})


def test_slice_cuts_every_tensor_with_rows() -> None:
    cut = slice_batch({"x": torch.arange(4), "s": torch.tensor(7)}, 1, 3)
    assert cut["x"].tolist() == [1, 2]
    assert cut["s"] == 7


@pytest.mark.parametrize(
    ("path", "found"),
    [("a.b", 1), (["c", 1], 3), (["d", "e"], 4), (["c"], [2, 3])],
)
def test_select_takes_keys_indices_and_attributes(path: Any, found: object) -> None:
    tree = {"a.b": 1, "c": [2, 3], "d": SimpleNamespace(e=4)}
    assert select(tree, path) == found


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("actoin", "nothing at 'actoin': no key 'actoin'; did you mean 'action'?"),
        (["action", 9], "nothing at ['action', 9]: a list has no 9"),
        (["o", "_x"], "nothing at ['o', '_x']: a SimpleNamespace has no '_x'"),
        ("zzz", "nothing at 'zzz': no key 'zzz'; there are ['action', 'o']"),
    ],
)
def test_missing_part_is_named_with_its_neighbours(path: Any, message: str) -> None:
    with pytest.raises(LookupError) as caught:
        select({"action": [1], "o": SimpleNamespace(_x=1)}, path)
    assert str(caught.value) == message


def test_cast_to_integers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"floating dtypes only, not to torch\.int64"):
        cast_dtype({"x": torch.ones(1)}, torch.int64)
