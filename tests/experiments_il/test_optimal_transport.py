"""Optimal transport: against geomloss, SciPy, POT and closed forms."""

import geomloss
import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from experiments_il.losses import SinkhornKnopp, SinkhornKnoppLoss
from experiments_il.optimal_transport import (
    Transport,
    assignment_cost,
    sinkhorn_divergence,
    squared_distances,
)
from trainer_core.errors import UserError


def clouds(
    n: int = 24, d: int = 30, groups: int = 1, matched: bool = False
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + d)
    y = torch.randn(groups, n, d, generator=generator)
    noise = torch.randn(groups, n, d, generator=generator)
    x = y[:, torch.randperm(n, generator=generator)] + 0.5 * noise if matched else noise
    return x, y


def with_gradient(x: Tensor, solve: object) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    value = solve(leaf)  # type: ignore[operator]
    value = (value.cost if isinstance(value, Transport) else value).sum()
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


@pytest.mark.parametrize("blur", [0.05, 0.5, 5.0])
def test_value_and_gradient_equal_geomloss(blur: float) -> None:
    x, y = (each.double() for each in clouds())
    half = 0.5**0.5  # geomloss costs half the squared distance
    diameter = 20.0
    falling = np.arange(2 * np.log(diameter), 2 * np.log(blur), 2 * np.log(0.9))
    schedule = [diameter**2, *np.exp(falling).tolist(), blur**2]  # geomloss's own
    oracle = geomloss.SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.9, diameter=diameter)
    expected, gradient = with_gradient(x[0], lambda leaf: oracle(leaf, y[0]))
    found, own = with_gradient(
        x, lambda leaf: sinkhorn_divergence(leaf * half, y * half, epsilons=schedule)
    )
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(own.flatten(), gradient.flatten(), dim=0)
    assert float(cosine) > 1 - 1e-5
    assert float(own.norm() / gradient.norm()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("n", [5, 40])
def test_assignment_equals_scipy(n: int) -> None:
    x, y = clouds(n)
    cost = squared_distances(x, y)[0].numpy()
    rows, columns = linear_sum_assignment(cost)
    found = assignment_cost(x, y)
    assert float(found.cost) == pytest.approx(cost[rows, columns].mean(), rel=1e-6)


def test_assignment_equals_earth_movers_distance() -> None:
    x, y = clouds(20)
    expected = ot.emd2(np.empty(0), np.empty(0), squared_distances(x, y)[0].double().numpy())
    assert float(assignment_cost(x, y).cost) == pytest.approx(expected, rel=1e-5)


def test_assignment_of_far_clouds_is_that_of_near_ones() -> None:
    x, y = clouds(30, 8)
    near, far = assignment_cost(x, y), assignment_cost(x + 1e4, y + 1e4)
    assert float(far.cost) == pytest.approx(float(near.cost), rel=1e-3)
    assert float(far.identity) == float(near.identity)


@pytest.mark.parametrize(("matched", "tolerance"), [(False, 1e-3), (True, 1e-5)])
def test_small_blur_is_the_assignment(matched: bool, tolerance: float) -> None:
    x, y = clouds(60, 984, matched=matched)
    blurred = sinkhorn_divergence(x, y, blur=0.004, scaling=0.9)
    assert float(blurred.cost) == pytest.approx(float(assignment_cost(x, y).cost), rel=tolerance)


def test_assignment_in_one_dimension_sorts() -> None:
    x, y = clouds(30, 1)
    expected = (x.sort(dim=1).values - y.sort(dim=1).values).square().mean()
    assert float(assignment_cost(x, y).cost) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("blur", [0.05, 0.5, 5.0])
def test_translation_costs_its_square_at_every_blur(blur: float) -> None:
    x = torch.randn(1, 16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shift = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    value, gradient = with_gradient(x, lambda leaf: sinkhorn_divergence(leaf, x + shift, blur=blur))
    assert float(value) == pytest.approx(float(shift.square().sum()), rel=1e-5)
    assert torch.allclose(gradient, (-2 * shift / 16).expand_as(gradient), atol=4e-4)


def test_equal_clouds_cost_nothing() -> None:
    x, _ = clouds()
    assert float(sinkhorn_divergence(x, x).cost) == pytest.approx(0, abs=1e-6)


def test_divergence_is_symmetric_and_not_negative() -> None:
    x, y = clouds()
    there, back = sinkhorn_divergence(x, y).cost, sinkhorn_divergence(y, x).cost
    assert float(there) == pytest.approx(float(back), rel=1e-4)
    assert float(there) >= -1e-6


def test_envelope_gradient_equals_finite_differences() -> None:
    x, y = (each.double() for each in clouds(6, 2))
    schedule = [4.0, 2.0, 1.0] + [0.5] * 200
    _, gradient = with_gradient(x, lambda leaf: sinkhorn_divergence(leaf, y, epsilons=schedule))
    step = torch.zeros_like(x)
    step[0, 2, 1] = 1e-5
    costs = [float(sinkhorn_divergence(x + s, y, epsilons=schedule).cost) for s in (step, -step)]
    assert float(gradient[0, 2, 1]) == pytest.approx((costs[0] - costs[1]) / 2e-5, abs=1e-4)


def test_groups_do_not_see_one_another() -> None:
    x, y = clouds(16, 5, groups=3)
    together = sinkhorn_divergence(x, y).cost
    apart = torch.cat([sinkhorn_divergence(x[g : g + 1], y[g : g + 1]).cost for g in range(3)])
    assert torch.allclose(together, apart, rtol=1e-6)


def test_half_precision_around_it_changes_nothing() -> None:
    x, y = clouds(16, 40)

    def under_autocast(leaf: Tensor) -> Transport:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return sinkhorn_divergence(leaf, y)

    plain = with_gradient(x, lambda leaf: sinkhorn_divergence(leaf, y))
    inside = with_gradient(x, under_autocast)
    assert torch.equal(plain[0], inside[0])
    assert torch.equal(plain[1], inside[1])


def test_points_that_coincide_have_finite_gradients() -> None:
    x = torch.zeros(1, 4, 2)
    _, gradient = with_gradient(x, lambda leaf: sinkhorn_divergence(leaf, torch.zeros(1, 4, 2)))
    assert torch.isfinite(gradient).all()


def test_loss_is_the_mean_over_its_groups() -> None:
    x, y = (each.reshape(12, 2, 5) for each in clouds(12, 10))
    loss = SinkhornKnopp(group=4)
    parts = torch.stack([loss(x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)])
    assert float(loss(x, y)) == pytest.approx(float(parts.mean()), rel=1e-5)
    ragged = (2 * loss(x[:8], y[:8]) + loss(x[8:12], y[8:12])) / 3
    assert float(SinkhornKnopp(group=8)(x[:4], y[:4])) == pytest.approx(float(loss(x[:4], y[:4])))
    assert float(ragged) == pytest.approx(float(loss(x, y)), rel=1e-5)


def test_normalised_cost_is_a_mean_over_dimensions() -> None:
    chunk, target = torch.zeros(1, 2, 3), torch.full((1, 2, 3), 2.0)
    assert float(SinkhornKnopp(group=1)(chunk, target)) == pytest.approx(4.0)
    half = SinkhornKnopp(group=1, scale="raw_half")
    assert float(half(chunk, target)) == pytest.approx(0.5 * 6 * 4.0)


@pytest.mark.parametrize("value", [1e3, float("nan")])
def test_padded_actions_cost_nothing(value: float) -> None:
    x, y = (each.reshape(8, 2, 5) for each in clouds(8, 10))
    mask = torch.tensor([[True, False]]).expand(8, 2)
    changed = torch.where(mask.unsqueeze(-1), x, value)
    loss = SinkhornKnopp(group=8)
    plain = with_gradient(x, lambda leaf: loss(leaf, y, mask))
    other = with_gradient(changed, lambda leaf: loss(leaf, y, mask))
    assert torch.equal(plain[0], other[0])
    assert torch.equal(plain[1], other[1])
    assert float(plain[1][:, 1].abs().sum()) == 0


def test_heavy_states_make_the_plan_the_identity() -> None:
    x, y = (each.reshape(8, 2, 5) for each in clouds(8, 10))
    states = torch.arange(8.0).unsqueeze(1)
    assert float(SinkhornKnopp(8, 1000.0).measure(x, y, None, states).identity) > 0.95
    assert float(SinkhornKnopp(8, 0.0).measure(x, y, None, states).identity) < 0.9


def test_automatic_backend_is_exact_where_the_blur_is_sharp() -> None:
    x, y = (each.reshape(16, 2, 5) for each in clouds(16, 10))
    exact = SinkhornKnopp(group=8, backend="exact")(x, y)
    assert torch.equal(SinkhornKnopp(group=8, backend="auto", blur=1e-3)(x, y), exact)
    assert not torch.equal(SinkhornKnopp(group=8, backend="auto")(x, y), exact)
    mixed = torch.cat([x[:8], 1e-3 * x[8:]]), torch.cat([y[:8], 1e-3 * y[8:]])
    parts = [
        SinkhornKnopp(8, backend="auto", blur=1e-3)(*(m[s] for m in mixed))
        for s in (slice(8), slice(8, 16))
    ]
    whole = SinkhornKnopp(group=8, backend="auto", blur=1e-3)(*mixed)
    assert float(whole) == pytest.approx(float(sum(parts)) / 2, rel=1e-5)


@pytest.mark.parametrize("backend", ["sinkhorn", "exact", "auto"])
def test_shapes_alone_suffice(backend: str) -> None:
    loss = SinkhornKnopp(group=4, backend=backend)  # type: ignore[arg-type]
    chunk = torch.zeros(8, 2, 3, device="meta")
    assert loss(chunk, chunk, None, torch.zeros(8, 5, device="meta")).shape == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relative_blur": 0.0}, "relative_blur must be above 0, got 0"),
        ({"blur": -1.0}, "blur must be above 0, got -1"),
        ({"scaling": 0.0}, "scaling must be above 0, got 0"),
    ],
)
def test_impossible_values_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        SinkhornKnoppLoss(**options)  # type: ignore[arg-type]
    assert str(caught.value) == message
