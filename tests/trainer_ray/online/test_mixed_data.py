"""Batches of a data set and of new episodes: proportions, places, the order of the data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer_core.checkpoint.data_description import describe_data
from trainer_core.errors import DatasetError
from trainer_core.loader import BatchSource
from trainer_core.sampling import order_of
from trainer_ray.online.mixed_data import MixedData, Proportions

SIZE = 10


class Numbers:
    """A data set whose samples are their numbers, with names."""

    fps = 12.5

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.features = {"index": torch.zeros(1)}
        self.fingerprint = {"numbers": "abc"}

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices: Any) -> dict[str, Any]:
        return {"index": np.asarray(indices), "task": [f"own {i}" for i in indices]}


def take_new(count: int) -> Any:
    """Return what gives samples that are numbered below zero."""
    taken = iter(range(10**6))

    def take() -> dict[str, Any]:
        numbers = [-1 - next(taken) for _ in range(count)]
        return {"index": torch.tensor(numbers), "task": [f"new {i}" for i in numbers]}

    return take


def batches(mixed: MixedData, steps: range, seed: int = 3) -> list[list[int]]:
    source = BatchSource(mixed, order_of(mixed, seed), global_batch=mixed.proportions.batch)
    fetch = source.iterate(steps.start * mixed.proportions.batch)
    return [fetch()["index"].tolist() for _ in steps]


@given(batch=st.integers(1, 12), share=st.floats(0, 1), size=st.integers(1, 30))
def test_every_mixed_batch_has_exactly_its_share(batch: int, share: float, size: int) -> None:
    online = round(batch * share)
    mixed = MixedData(Numbers(size), Proportions(batch, online))
    mixed.begin(take_new(online))
    for found in batches(mixed, range(7)):
        assert len(found) == batch
        assert sum(number < 0 for number in found) == online


@given(
    batch=st.integers(2, 9),
    online=st.integers(0, 8),
    offline_steps=st.integers(0, 5),
    start=st.integers(0, 20),
)
def test_the_data_set_is_read_in_its_own_order_from_any_step(
    batch: int, online: int, offline_steps: int, start: int
) -> None:
    proportions = Proportions(batch, min(online, batch), offline_steps)
    whole, resumed = MixedData(Numbers(), proportions), MixedData(Numbers(), proportions)
    for mixed in (whole, resumed):
        mixed.begin(take_new(proportions.online))
    read = [[n for n in found if n >= 0] for found in batches(whole, range(25))]
    flat = [number for found in read for number in found]
    assert flat == order_of(Numbers(), 3).indices(0, len(flat)).tolist()
    again = [[n for n in found if n >= 0] for found in batches(resumed, range(start, 25))]
    assert again == read[start:]


def test_steps_on_the_data_set_alone_are_those_of_the_data_set() -> None:
    mixed = MixedData(Numbers(), Proportions(4, 2, offline_steps=3))
    mixed.begin(take_new(2))
    found = batches(mixed, range(4))
    assert np.concatenate(found[:3]).tolist() == order_of(Numbers(), 3).indices(0, 12).tolist()
    assert [number < 0 for number in found[3]] == [False, True, False, True]


def test_micro_batches_have_their_part_of_new_samples() -> None:
    places = Proportions(12, 4).places().reshape(4, 3)
    assert places.sum(1).tolist() == [1, 1, 1, 1]


def test_an_epoch_is_a_pass_over_the_data_set() -> None:
    mixed = MixedData(Numbers(12), Proportions(8, 6))
    assert len(mixed) == 48
    mixed.begin(take_new(6))
    own = [n for found in batches(mixed, range(len(mixed) // 8)) for n in found if n >= 0]
    assert sorted(own) == list(range(12))


def test_before_it_begins_the_data_set_fills_all_places() -> None:
    mixed = MixedData(Numbers(), Proportions(4, 3))
    assert all(0 <= number < SIZE for found in batches(mixed, range(5)) for number in found)


def test_lists_of_text_are_mixed_as_tensors_are() -> None:
    mixed = MixedData(Numbers(), Proportions(4, 2))
    mixed.begin(take_new(2))
    batch = mixed.__getitems__([7, SIZE, 5, SIZE])
    assert batch["index"].tolist() == [7, -1, 5, -2]
    assert batch["task"] == ["own 7", "new -1", "own 5", "new -2"]


def test_checkpoints_describe_the_data_set_behind_it() -> None:
    mixed = MixedData(Numbers(), Proportions(4, 2))
    assert describe_data(mixed) == describe_data(Numbers())
    assert mixed.fingerprint == {"numbers": "abc"}


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            {"index": torch.zeros(2, dtype=torch.int64)},
            "batches of new episodes and of the data set have different keys: task",
        ),
        (
            {"index": torch.zeros(2, 3), "task": ["", ""]},
            "'index' of new episodes is float32 [3], and int64 [] in the data set: ",
        ),
    ],
)
def test_samples_that_do_not_fit_are_named(new: dict[str, Any], message: str) -> None:
    mixed = MixedData(Numbers(), Proportions(4, 2))
    mixed.begin(lambda: new)
    with pytest.raises(DatasetError) as caught:
        mixed.__getitems__([0, SIZE, 1, SIZE])
    assert str(caught.value).startswith(message)
