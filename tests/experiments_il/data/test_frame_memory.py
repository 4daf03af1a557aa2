"""The memory of a batch's frames is used again, and never while something still refers to it."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from experiments_il.data.frame_memory import FrameMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (2, 3, 512, 512)


def address(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)


def test_memory_is_used_again_when_the_array_is_gone() -> None:
    memory = FrameMemory()
    first = memory.empty(SHAPE, np.uint8)
    place = address(first)
    del first
    again = memory.empty(SHAPE, np.uint8)
    assert address(again) == place
    assert again.shape == SHAPE
    assert again.flags.c_contiguous
    assert again.flags.writeable


def test_views_and_tensors_keep_memory_from_being_used_again() -> None:
    memory = FrameMemory()
    keepers: list[Any] = [
        memory.empty(SHAPE, np.uint8)[1:, 0],
        torch.from_numpy(memory.empty(SHAPE, np.uint8))[0],
        torch.from_numpy(memory.empty(SHAPE, np.uint8).reshape(6, -1)).numpy()[2:],
    ]
    for number, keeper in enumerate(keepers):
        keeper[:] = number
    for _ in range(3):
        memory.empty(SHAPE, np.uint8).fill(255)
    assert all((keeper == number).all() for number, keeper in enumerate(keepers))


def test_memory_of_other_sizes_is_not_gathered() -> None:
    memory = FrameMemory()
    for rows in range(2, 8):
        memory.empty((rows, *SHAPE), np.uint8)
    assert len(memory._free) <= 2
    assert memory.empty((4,), np.float32).dtype == np.float32


def test_memory_of_many_batches_is_given_back() -> None:
    memory = FrameMemory()
    held = [memory.empty(SHAPE, np.uint8) for _ in range(6)]
    held.clear()
    memory.empty(SHAPE, np.uint8)
    assert len(memory._free) <= 2


def test_memory_stays_behind_in_its_process() -> None:
    memory = FrameMemory()
    memory.empty(SHAPE, np.uint8)
    assert pickle.loads(pickle.dumps(memory))._free == []


def test_threads_take_memory_beside_one_another() -> None:
    memory = FrameMemory()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as threads:
            shapes = threads.map(
                lambda number: memory.empty((1 + number % 2, *SHAPE), np.uint8).shape, range(600)
            )
            assert list(shapes) == [(1 + number % 2, *SHAPE) for number in range(600)]
    finally:
        sys.setswitchinterval(interval)
