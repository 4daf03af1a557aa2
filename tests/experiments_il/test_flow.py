"""Time law, path and integration: the acceptance figures of conditional flow matching."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from experiments_il.flow import (
    Solver,
    endpoint,
    evaluations,
    integrate,
    interpolate,
    sample_time,
    velocity_target,
)
from trainer_core.random import KeyedRandom

MEAN, STD = 0.7, 0.5


def gaussian_field(x: Tensor, t: Tensor) -> Tensor:
    """The marginal velocity of N(MEAN, STD^2) data, in closed form."""
    variance = STD * STD
    slope = (t * variance - (1 - t)) / ((1 - t) ** 2 + t**2 * variance)
    return MEAN + slope * (x - t * MEAN)


def error_after(steps: int, solver: Solver) -> float:
    noise = torch.linspace(-2, 2, 41, dtype=torch.float64)
    exact = MEAN + STD * noise
    return float((integrate(gaussian_field, noise, steps=steps, solver=solver) - exact).abs().max())


def test_beta_law_has_its_moments() -> None:
    t = sample_time(torch.rand(100_000, generator=torch.Generator().manual_seed(0)))
    assert float(t.mean()) == pytest.approx(0.3996, abs=0.002)
    assert float(t.var()) == pytest.approx(0.0684, abs=0.002)
    assert float(t.min()) >= 0
    assert float(t.max()) < 0.9991


def test_uniform_law_keeps_its_numbers() -> None:
    numbers = torch.rand(5)
    assert torch.equal(sample_time(numbers, "uniform"), numbers)


def test_times_do_not_depend_on_the_batch() -> None:
    whole = sample_time(KeyedRandom(3, 7, total=8).uniform(stream="flow.time"))
    part = sample_time(KeyedRandom(3, 7, total=8, start=2, count=3).uniform(stream="flow.time"))
    assert torch.equal(whole[2:5], part)


def test_unknown_law_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"^unknown time law 'beta'; known: beta\(1,1.5\), uniform$"
    ):
        sample_time(torch.rand(2), "beta")  # type: ignore[arg-type] # the mistake under test


@given(t=st.floats(0, 1), noise=st.floats(-3, 3), data=st.floats(-3, 3))
def test_velocity_is_the_derivative_of_the_path(t: float, noise: float, data: float) -> None:
    x_0 = torch.tensor([[noise]], dtype=torch.float64)
    x_1 = torch.tensor([[data]], dtype=torch.float64)
    time = torch.tensor([t], dtype=torch.float64)
    at = interpolate(x_0, x_1, time)
    velocity = velocity_target(x_0, x_1)
    assert torch.allclose(at, x_0 + t * velocity, atol=1e-12)
    assert torch.allclose(endpoint(at, velocity, time), x_1, atol=1e-12)


def test_each_sample_has_its_own_time() -> None:
    path = interpolate(torch.zeros(2, 3, 4), torch.ones(2, 3, 4), torch.tensor([0.25, 1.0]))
    assert path[:, 0, 0].tolist() == [0.25, 1.0]


@pytest.mark.parametrize(
    ("solver", "order"), [("euler", 1.0), ("midpoint", 2.0), ("heun", 2.0), ("rk4", 4.0)]
)
def test_solver_reaches_its_order(solver: Solver, order: float) -> None:
    observed = math.log2(error_after(32, solver) / error_after(64, solver))
    assert observed >= order - 0.3


@pytest.mark.parametrize(
    ("solver", "calls"), [("euler", 5), ("midpoint", 10), ("heun", 10), ("rk4", 20)]
)
def test_field_is_called_as_often_as_promised(solver: Solver, calls: int) -> None:
    times: list[float] = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (2,)
        times.append(float(t[0]))
        return x

    noise = torch.ones(2, 3)
    integrate(field, noise, steps=5, solver=solver)
    assert len(times) == calls == evaluations(solver, 5)
    assert times[0] == 0.0
    assert max(times) <= 1.0
    assert torch.equal(noise, torch.ones(2, 3))


def test_one_euler_step_is_the_endpoint() -> None:
    noise = torch.linspace(-1, 1, 5, dtype=torch.float64)
    start = torch.zeros(5, dtype=torch.float64)
    step = integrate(gaussian_field, noise, steps=1)
    assert torch.allclose(step, endpoint(noise, gaussian_field(noise, start), start))


def test_unknown_solver_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"^unknown solver 'rk5'; known: euler, midpoint, heun, rk4$"
    ):
        integrate(gaussian_field, torch.ones(1), solver="rk5")  # type: ignore[arg-type] # the mistake


def test_zero_steps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^steps must be at least 1, got 0$"):
        integrate(gaussian_field, torch.ones(1), steps=0)
