"""Seeds: one base seed for building, keyed seeds for every step and loader worker."""

from __future__ import annotations

import operator
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "get_host_rng_state",
    "isolated_rng",
    "make_step_seeder",
    "seed_everything_once",
    "seed_worker",
    "set_global_seed",
    "set_host_rng_state",
]

_NUMPY_SEED_BITS = 32
_TORCH_SEED_BITS = 64


def set_global_seed(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (all devices).

    Args:
        seed: A non-negative integer; torch gets its lower 64 bits and numpy its lower 32.

    Raises:
        ValueError: The seed is negative.
        TypeError: It is no integer.
    """
    number = operator.index(seed)
    if number < 0:
        msg = f"a seed must not be negative, got {seed}"
        raise ValueError(msg)
    random.seed(number)
    np.random.seed(number % (1 << _NUMPY_SEED_BITS))  # noqa: NPY002 - plugins read the global one
    torch.manual_seed(number % (1 << _TORCH_SEED_BITS))


def seed_worker(worker_id: int) -> None:
    """Seed Python and numpy of a loader process from torch's seed for it.

    Pass it as `worker_init_fn` of a `torch.utils.data.DataLoader`.

    Args:
        worker_id: The worker's number; torch has mixed it into its seed already.
    """
    del worker_id
    seed = torch.initial_seed()
    random.seed(seed)
    np.random.seed(seed % (1 << _NUMPY_SEED_BITS))  # noqa: NPY002 - plugins read the global one


def seed_everything_once(*keys: str | int) -> None:
    """Seed the global CPU generators from keys, for code that draws from them per batch."""
    seed = derive_seed(*keys)
    random.seed(seed)
    np.random.seed(seed % (1 << _NUMPY_SEED_BITS))  # noqa: NPY002 - plugins read the global one
    torch.default_generator.manual_seed(seed)


def make_step_seeder(seed: int, device: torch.device) -> Callable[[int, int], None]:
    """Return `reseed(step, micro_batch)` for torch's generators of the CPU and of `device`.

    Dropout and the like can only draw from the global generator. Keyed by the step and by the
    micro-batch's number within the global batch, they do not depend on what was drawn before.
    """
    cpu_seed = torch.default_generator.manual_seed
    device_seed: Callable[[int], object] | None
    if device.type == "cuda":
        current = torch.cuda.current_device()  # also starts CUDA
        index = current if device.index is None else device.index
        device_seed = torch.cuda.default_generators[index].manual_seed
    elif device.type == "mps":
        device_seed = torch.mps.manual_seed
    else:
        device_seed = None

    def reseed(step: int, micro_batch: int) -> None:
        key = derive_seed(seed, step, micro_batch)
        cpu_seed(key)
        if device_seed is not None:
            device_seed(key)

    return reseed


def get_host_rng_state() -> dict[str, Any]:
    """Return the state of Python's and numpy's global generators as plain numbers."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - the global one
    return {
        "python": [version, list(words), gauss],
        "numpy": [
            str(name),
            np.asarray(keys).tolist(),
            int(position),
            int(has_gauss),
            float(cached),
        ],
    }


def set_host_rng_state(state: dict[str, Any]) -> None:
    """Restore what `get_host_rng_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(  # noqa: NPY002 - the global one
        (name, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached)
    )


@contextmanager
def isolated_rng() -> Iterator[None]:
    """Give the global generators of Python, numpy and torch back as they were found."""
    host = get_host_rng_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            set_host_rng_state(host)
