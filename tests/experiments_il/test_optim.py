"""AdamW with warm-up and cosine decay: the exact learning rates."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments_il.optim import AdamWWarmupCosineDecay, warmup_cosine_lr
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.protocols import OptimizerFactory

Rates = list[list[float]]


def run(
    factory: AdamWWarmupCosineDecay, steps: int, total_steps: int, groups: int = 1
) -> tuple[Rates, torch.optim.Optimizer]:
    """Return the learning rate of each group at each step."""
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(groups)]
    optimizer = factory.build([{"params": [p], "name": f"g{i}"} for i, p in enumerate(parameters)])
    schedule = factory.schedule(optimizer, total_steps)
    rates: Rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return rates, optimizer


def test_factory_meets_the_protocol() -> None:
    assert isinstance(AdamWWarmupCosineDecay(), OptimizerFactory)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (0, 1e-5),
        (9, 1e-3),
        (10, 1e-3),
        (99, 1e-6),
        (109, 1e-6),
        (5, 1e-5 + (1e-3 - 1e-5) * 5 / 9),
    ],
)
def test_rates_at_the_corners(k: int, expected: float) -> None:
    factory = AdamWWarmupCosineDecay(1e-3, warmup_steps=10, start_lr=1e-5, end_lr=1e-6)
    rates, _ = run(factory, 110, total_steps=100)
    assert rates[k][0] == pytest.approx(expected, rel=1e-12)


def test_middle_of_the_cosine_is_halfway() -> None:
    rate = warmup_cosine_lr(
        50, peak_lr=1.0, start_lr=0, end_lr=0.2, warmup_steps=0, total_steps=101
    )
    assert rate == pytest.approx(0.6)


def test_one_warmup_step_is_the_start() -> None:
    rates, _ = run(AdamWWarmupCosineDecay(1.0, warmup_steps=1, start_lr=0.25), 2, total_steps=10)
    assert rates == [[0.25], [1.0]]


def test_without_warmup_it_begins_at_the_peak() -> None:
    rates, _ = run(AdamWWarmupCosineDecay(1.0), 1, total_steps=10)
    assert rates == [[1.0]]


@given(
    warmup=st.integers(0, 20), more=st.integers(2, 50), start=st.floats(0, 1), end=st.floats(0, 1)
)
def test_rates_rise_and_then_fall(warmup: int, more: int, start: float, end: float) -> None:
    rates = [
        warmup_cosine_lr(
            k,
            peak_lr=1.0,
            start_lr=start,
            end_lr=end,
            warmup_steps=warmup,
            total_steps=warmup + more,
        )
        for k in range(warmup + more + 3)
    ]
    slack = 1e-12
    assert all(a <= b + slack for a, b in pairwise(rates[:warmup]))
    assert all(a + slack >= b for a, b in pairwise(rates[warmup:]))


def test_own_length_overrides_that_of_the_run() -> None:
    rates, _ = run(AdamWWarmupCosineDecay(1.0, total_steps=5), 6, total_steps=1000)
    assert rates[4] == rates[5] == [0.0]


def test_groups_scale_with_their_peak() -> None:
    factory = AdamWWarmupCosineDecay(1e-3, warmup_steps=4, start_lr=1e-4, end_lr=1e-5)
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = factory.build(
        [{"params": [parameters[0]]}, {"params": [parameters[1]], "peak_lr": 2e-3}]
    )
    factory.schedule(optimizer, 10)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-4, 2e-4])


@pytest.mark.parametrize("k", [0, 3, 12])
def test_restored_schedule_goes_on_equally(k: int) -> None:
    factory = AdamWWarmupCosineDecay(1e-3, warmup_steps=5)
    expected, _ = run(factory, 20, total_steps=20)
    parameter = torch.nn.Parameter(torch.ones(2))
    first = factory.build([{"params": [parameter]}])
    schedule = factory.schedule(first, 20)
    for _ in range(k):
        first.step()
        schedule.step()
    second = factory.build([{"params": [parameter]}])
    restored = factory.schedule(second, 20)
    restored.load_state_dict(schedule.state_dict())
    second.load_state_dict(first.state_dict())
    for at in range(k, 20):
        assert second.param_groups[0]["lr"] == pytest.approx(expected[at][0], rel=1e-12)
        second.step()
        restored.step()


def test_options_reach_the_optimizer() -> None:
    factory = AdamWWarmupCosineDecay(1e-3, betas=(0.8, 0.9), eps=1e-7, weight_decay=0.1)
    _, optimizer = run(factory, 1, total_steps=10)
    group = optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.9), 1e-7, 0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdamWWarmupCosineDecay(0.0), "peak_lr must be above 0, got 0"),
        (
            lambda: AdamWWarmupCosineDecay(1e-3, start_lr=1.0),
            "start_lr must be between 0 and peak_lr (0.001), got 1",
        ),
        (
            lambda: AdamWWarmupCosineDecay(1e-3, end_lr=-1.0),
            "end_lr must be between 0 and peak_lr (0.001), got -1",
        ),
        (
            lambda: AdamWWarmupCosineDecay(1e-3, warmup_steps=10, total_steps=10),
            "warmup_steps must be at least 0 and below the number of steps (10), got 10",
        ),
        (
            lambda: AdamWWarmupCosineDecay(1e-3, warmup_share=1.5),
            "warmup_share must be between 0 and 1, got 1.5",
        ),
    ],
)
def test_impossible_values_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value) == message


def test_warmup_longer_than_the_run_is_refused() -> None:
    factory = AdamWWarmupCosineDecay(1e-3, warmup_steps=10)
    with pytest.raises(UserError, match=r"below the number of steps \(5\), got 10$"):
        factory.schedule(factory.build([{"params": [torch.nn.Parameter(torch.ones(1))]}]), 5)


@pytest.mark.parametrize(("total", "warmup"), [(1000, 40), (400, 40), (100, 10), (5, 0)])
def test_short_run_warms_up_for_a_share_of_it(total: int, warmup: int) -> None:
    rates, _ = run(AdamWWarmupCosineDecay(1.0, warmup_steps=40, warmup_share=0.1), 50, total)
    assert [rate for (rate,) in rates].index(1.0) == max(0, warmup - 1)


@pytest.mark.parametrize("steps", [2, 50, 400])
@pytest.mark.parametrize("name", ["pick_place", "reach", "vfp_small", "toy_vfp_small"])
def test_recipe_may_be_as_short_as_one_likes(name: str, steps: int) -> None:
    assert load_experiment(f"il/{name}", [f"params.steps={steps}"], strict=False).problems == []


def test_warmup_longer_than_the_run_is_found_before_it() -> None:
    changed = ["params.steps=400", "optimizer.warmup_share=1"]
    (problem,) = load_experiment("il/pick_place", changed, strict=False).problems
    assert problem.path == "optimizer.warmup_steps"
    assert problem.message == (
        "warmup_steps must be at least 0 and below the number of steps (400), got 400; "
        "warmup_share: 0.1 makes it a tenth of a short run"
    )
