from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from trainer_core.datasets import TensorDataset
from trainer_core.loader import BatchSource, make_reader
from trainer_core.sampling import SampleOrder


class PlainItems:
    """Samples one by one, augmented with every global generator."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))  # noqa: NPY002
        return {"x": np.float32(index), "noise": noise}


def source(dataset: Any, **options: Any) -> BatchSource:
    order = SampleOrder(len(dataset), seed=1)
    return BatchSource(dataset, order, global_batch=4, **options)


def take(dataset: Any, position: int, count: int, **options: Any) -> list[dict[str, Any]]:
    fetch = source(dataset, **options).iterate(position)
    return [fetch() for _ in range(count)]


def test_batches_follow_the_order_from_any_position() -> None:
    dataset = TensorDataset({"x": torch.arange(10)})
    expected = SampleOrder(10, seed=1).indices(8, 16).tolist()
    assert torch.cat([batch["x"] for batch in take(dataset, 8, 2)]).tolist() == expected


def test_ranks_share_a_batch_in_contiguous_parts() -> None:
    dataset = TensorDataset({"x": torch.arange(10)})
    parts = [take(dataset, 0, 3, rank=rank, world_size=2) for rank in range(2)]
    whole = take(dataset, 0, 3)
    for first, second, batch in zip(*parts, whole, strict=True):
        assert torch.equal(torch.cat([first["x"], second["x"]]), batch["x"])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_bring_what_this_process_would(workers: int) -> None:
    here = take(PlainItems(), 4, 5)
    there = take(PlainItems(), 4, 5, num_workers=workers)
    for mine, theirs in zip(here, there, strict=True):
        assert torch.equal(mine["x"], theirs["x"])
        assert torch.equal(mine["noise"], theirs["noise"])


def test_augmentation_does_not_depend_on_the_start() -> None:
    assert torch.equal(take(PlainItems(), 0, 2)[1]["noise"], take(PlainItems(), 4, 1)[0]["noise"])


def test_arrays_of_a_batch_become_tensors() -> None:
    class Arrays:
        def __getitems__(self, indices: Any) -> dict[str, Any]:
            return {"x": indices.astype(np.float32), "name": ["a"] * len(indices)}

    batch = make_reader(Arrays(), 0)(np.arange(2), 0)
    assert batch["x"].dtype == torch.float32
    assert batch["name"] == ["a", "a"]


def test_data_set_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(TypeError, match="the data set int has neither __getitems__ nor"):
        make_reader(3, 0)


class Numbers(TensorDataset):
    """Numbers that are read for several steps at once, and how many were each time."""

    def __init__(self, samples_at_once: int) -> None:
        super().__init__({"x": torch.arange(20).reshape(10, 2)})
        self.samples_at_once = samples_at_once
        self.asked: list[int] = []

    def __getitems__(self, indices: Any) -> dict[str, Any]:
        self.asked.append(len(indices))
        return {**super().__getitems__(indices), "name": [f"sample {index}" for index in indices]}


@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("position", [0, 8])
def test_steps_that_are_read_at_once_are_those_read_one_by_one(
    rank: int, world_size: int, position: int
) -> None:
    ranks = {"rank": rank, "world_size": world_size}
    several = Numbers(samples_at_once=12 // world_size)
    found = take(several, position, 7, **ranks)
    expected = take(Numbers(samples_at_once=0), position, 7, **ranks)
    assert several.asked == [12 // world_size] * 3
    for batch, other in zip(found, expected, strict=True):
        assert torch.equal(batch["x"], other["x"])
        assert batch["name"] == other["name"]


@pytest.mark.parametrize("options", [{}, {"num_workers": 1}, {"samples_at_once": 12}])
def test_every_batch_is_prepared(options: dict[str, int]) -> None:
    dataset = Numbers(options.pop("samples_at_once", 0))
    halved = take(dataset, 0, 4, prepare=lambda batch: {"x": batch["x"] / 2}, **options)
    plain = take(dataset, 0, 4)
    assert all(torch.equal(one["x"], two["x"] / 2) for one, two in zip(halved, plain, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_that_was_read_with_others_may_be_changed(dtype: torch.dtype) -> None:
    dataset = Numbers(samples_at_once=12)
    weight = torch.ones(2, requires_grad=True)
    prepare = {"prepare": lambda batch: {"x": batch["x"].to(dtype)}}
    first, second, third = (batch["x"] for batch in take(dataset, 0, 3, **prepare))
    loss = (first.mul_(weight) * second).sum()
    third.zero_()
    loss.backward()
    assert weight.grad is not None
    assert second.untyped_storage().nbytes() <= first.untyped_storage().nbytes()
    assert not second.requires_grad
