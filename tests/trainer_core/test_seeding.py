from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from trainer_core.seeding import (
    get_host_rng_state,
    isolated_rng,
    make_step_seeder,
    seed_worker,
    set_global_seed,
    set_host_rng_state,
)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_global_seed_fixes_all_three_generators() -> None:
    set_global_seed(3)
    first = draw()
    set_global_seed(3)
    assert draw() == first


def test_worker_seed_follows_the_torch_seed() -> None:
    torch.manual_seed(5)
    seed_worker(0)
    first = random.random()
    torch.manual_seed(6)
    seed_worker(0)
    assert random.random() != first


def test_isolation_gives_every_generator_back() -> None:
    set_global_seed(3)
    expected = draw()
    set_global_seed(3)
    with isolated_rng():
        draw()
    assert draw() == expected


def test_host_state_returns_after_restoring() -> None:
    state = get_host_rng_state()
    first = (random.random(), float(np.random.rand()))  # noqa: NPY002
    set_host_rng_state(state)
    assert (random.random(), float(np.random.rand())) == first  # noqa: NPY002


def test_step_seeder_depends_on_step_and_micro_batch() -> None:
    reseed = make_step_seeder(0, torch.device("cpu"))
    drawn = []
    for step, micro_batch in [(0, 0), (0, 1), (1, 0), (0, 0)]:
        reseed(step, micro_batch)
        drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


def test_seed_beyond_the_generators_is_reduced() -> None:
    set_global_seed(2**100 + 7)
    first = torch.rand(3)
    set_global_seed(7)
    assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError)])
def test_seed_is_a_non_negative_integer(seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        set_global_seed(seed)
