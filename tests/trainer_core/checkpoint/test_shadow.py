"""The copy that is written while training goes on."""

from __future__ import annotations

import torch

from trainer_core.checkpoint.shadow import Shadow, borrow


def test_later_training_does_not_change_the_copy() -> None:
    weight = torch.ones(3, requires_grad=True)
    copied = Shadow().copy("f", {"w": weight})
    with torch.no_grad():
        weight.zero_()
    assert copied["w"].tolist() == [1, 1, 1]


def test_memory_is_allocated_once() -> None:
    shadow = Shadow()
    first = shadow.copy("f", {"w": torch.ones(100)})["w"].data_ptr()
    assert shadow.copy("f", {"w": torch.zeros(100)})["w"].data_ptr() == first
    assert shadow.nbytes == 448  # a multiple of 64


def test_memory_grows_with_the_file_and_is_not_kept_twice() -> None:
    shadow = Shadow()
    shadow.copy("f", {"w": torch.ones(16)})
    shadow.copy("f", {"w": torch.ones(16), "v": torch.ones(16)})
    shadow.copy("g", {"w": torch.ones(16)})
    assert shadow.nbytes == 3 * 64


def test_borrowed_tensors_are_the_run_s_own() -> None:
    weight = torch.ones(3)
    assert borrow("f", {"w": weight})["w"].data_ptr() == weight.data_ptr()


def test_sharded_tensors_are_gathered() -> None:
    class Sharded(torch.Tensor):
        def full_tensor(self) -> torch.Tensor:
            return torch.arange(4.0)

    part = torch.zeros(2).as_subclass(Sharded)
    assert Shadow().copy("f", {"w": part})["w"].tolist() == [0, 1, 2, 3]
