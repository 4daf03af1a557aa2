from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer_core.random import KeyedRandom, derive_seed


@given(st.integers(0, 2**40), st.integers(0, 2**31), st.text(max_size=8))
def test_derived_seed_fits_sixty_three_bits(seed: int, step: int, stream: str) -> None:
    assert 0 <= derive_seed(seed, step, stream) < 2**63


def test_derived_seed_is_a_fixed_function() -> None:
    assert derive_seed(0, 1, "flow_time") == derive_seed(0, 1, "flow_time")
    assert derive_seed(0) == 3980143261097177850


@pytest.mark.parametrize("keys", [(1, 0), (0, 1), (0, 0, 0), (0, "a"), ("a", 0), (0, "b")])
def test_every_key_and_order_matters(keys: tuple[int | str, ...]) -> None:
    assert derive_seed(*keys) != derive_seed(0, 0)


@given(st.integers(1, 12), st.integers(0, 11))
def test_parts_of_a_batch_join_to_the_whole(total: int, cut: int) -> None:
    cut = min(cut, total)
    whole = KeyedRandom(3, 5, total=total).normal(4, stream="noise")
    parts = [
        KeyedRandom(3, 5, total=total, start=0, count=cut).normal(4, stream="noise"),
        KeyedRandom(3, 5, total=total, start=cut).normal(4, stream="noise"),
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_micro_batches_join_to_the_local_part() -> None:
    local = KeyedRandom(3, 5, total=8, start=4, count=4)
    micro = [local.slice(0, 2).uniform(3), local.slice(2, 4).uniform(3)]
    assert torch.equal(torch.cat(micro), KeyedRandom(3, 5, total=8).uniform(3)[4:])


def test_changing_a_draw_leaves_the_next_one() -> None:
    random = KeyedRandom(0, 0, total=4).slice(0, 4)
    first = random.normal().mul_(0)
    assert not torch.equal(first, random.normal())


@pytest.mark.parametrize("other", [{"seed": 1}, {"step": 1}, {"stream": "t"}])
def test_seed_step_and_stream_change_the_numbers(other: dict[str, int | str]) -> None:
    stream = other.pop("stream", "")
    changed = KeyedRandom(int(other.get("seed", 0)), int(other.get("step", 0)), total=4).normal(
        stream=stream
    )
    assert not torch.equal(changed, KeyedRandom(0, 0, total=4).normal())


def test_uniform_numbers_stay_in_their_range() -> None:
    numbers = KeyedRandom(0, 0, total=1000).uniform(low=2.0, high=3.0)
    assert numbers.min() >= 2.0
    assert numbers.max() < 3.0


def test_bernoulli_has_about_its_probability() -> None:
    share = KeyedRandom(0, 0, total=10_000).bernoulli(0.3).float().mean()
    assert float(share) == pytest.approx(0.3, abs=0.02)


def test_integers_cover_their_range() -> None:
    assert set(KeyedRandom(0, 0, total=200).integers(4).tolist()) == {0, 1, 2, 3}


def test_batch_generator_ignores_the_part() -> None:
    first = KeyedRandom(0, 0, total=8, start=0, count=4).generator("shuffle")
    second = KeyedRandom(0, 0, total=8, start=4, count=4).generator("shuffle")
    assert torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=second))
