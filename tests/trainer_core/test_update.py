from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer_core.update import Clipping, LossScale, Outcome, Update, clip_by_global_norm

LOSS = torch.tensor(1.0)


def two_components() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"small": nn.Linear(2, 1), "large": nn.Linear(3, 2)})


def fill(models: nn.ModuleDict, factor: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in models.parameters():
        parameter.grad = factor * torch.randn(parameter.shape, generator=generator)


def gradients(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def apply(models: nn.ModuleDict, clipping: Clipping, **options: Any) -> tuple[Any, dict[str, Any]]:
    optimizer = torch.optim.SGD(models.parameters(), lr=0.1)
    update = Update(models, {"default": optimizer}, clipping, **options)
    metrics: dict[str, Any] = {"loss": LOSS}
    return update.apply(metrics), metrics


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_global_clipping_equals_that_of_torch(max_norm: float) -> None:
    ours, theirs = two_components(), two_components()
    fill(ours)
    fill(theirs)
    _, metrics = apply(ours, Clipping(max_norm))
    norm = nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    assert torch.allclose(metrics["grad_norm"], norm)
    assert torch.allclose(gradients(ours), gradients(theirs))


@pytest.mark.parametrize(
    ("clipping", "limits"),
    [
        (Clipping(0.5, scope="component"), {"small": 0.5, "large": 0.5}),
        (Clipping({"large": 0.25}), {"large": 0.25}),
    ],
)
def test_each_component_is_clipped_like_a_model_of_its_own(
    clipping: Clipping, limits: dict[str, float]
) -> None:
    ours, theirs = two_components(), two_components()
    fill(ours)
    fill(theirs)
    _, metrics = apply(ours, clipping)
    for name, module in theirs.items():
        norm = nn.utils.clip_grad_norm_(module.parameters(), limits.get(name, math.inf))
        assert torch.allclose(metrics[f"grad_norm/{name}"], norm)
        assert torch.allclose(gradients(ours[name]), gradients(module))


def test_clipped_values_equal_those_of_torch() -> None:
    ours, theirs = two_components(), two_components()
    fill(ours)
    fill(theirs)
    apply(ours, Clipping(value=0.3))
    nn.utils.clip_grad_value_(theirs.parameters(), 0.3)
    assert torch.equal(gradients(ours), gradients(theirs))


def test_components_without_a_gradient_are_left_alone() -> None:
    models = two_components()
    models["large"].weight.grad = torch.ones(2, 3)
    outcome, metrics = apply(models, Clipping(0.5, scope="component"))
    assert outcome is Outcome.APPLIED
    assert float(metrics["grad_norm/small"]) == 0


@pytest.mark.parametrize("clipping", [Clipping(), Clipping(0.5), Clipping({"small": 0.1}, 0.05)])
def test_loss_scale_does_not_change_the_step(clipping: Clipping) -> None:
    plain, scaled = two_components(), two_components()
    fill(plain)
    fill(scaled, 65536.0)
    apply(plain, clipping)
    outcome, metrics = apply(scaled, clipping, scale=LossScale())
    assert outcome is Outcome.APPLIED
    assert torch.allclose(gradients(plain), gradients(scaled), rtol=1e-6)
    assert float(metrics["grad_norm"]) < 100


def test_loss_scale_equals_that_of_torch() -> None:
    scale = LossScale(growth_interval=3)
    theirs = torch.amp.GradScaler("cpu", init_scale=65536.0, growth_interval=3)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    overflows = [True, False, False, False, False, True, False, False, False, False, False, False]
    for overflowed in overflows:
        theirs.scale(torch.zeros(1))
        weight.grad = torch.tensor([math.inf if overflowed else 1.0])
        theirs.step(optimizer)
        theirs.update()
        scale.update(overflowed=overflowed)
        assert scale.value == theirs.get_scale()
    again = LossScale(growth_interval=3)
    again.load_state_dict(scale.state_dict())
    assert again == scale


def test_overflow_leaves_the_weights_and_lowers_the_scale() -> None:
    models, scale = two_components(), LossScale()
    before = [p.detach().clone() for p in models.parameters()]
    fill(models, math.inf)
    outcome, _ = apply(models, Clipping(1.0), scale=scale)
    assert (outcome, scale.value) == (Outcome.OVERFLOWED, 32768.0)
    assert all(torch.equal(p, b) for p, b in zip(models.parameters(), before, strict=True))


def test_gradient_that_no_scale_makes_finite_is_not_an_overflow() -> None:
    models, scale = two_components(), LossScale()
    fill(models, math.nan)
    for _ in range(40):
        outcome, _ = apply(models, Clipping(), scale=scale)
        if outcome is Outcome.NONFINITE:
            break
    assert outcome is Outcome.NONFINITE
    assert scale.value < LossScale.SMALLEST


@pytest.mark.parametrize(
    ("checks", "outcome"), [(True, Outcome.NONFINITE), (False, Outcome.APPLIED)]
)
def test_step_that_is_not_finite_is_seen_on_request(checks: bool, outcome: Outcome) -> None:
    models = two_components()
    fill(models, math.nan)
    assert apply(models, Clipping(), checks=checks)[0] is outcome


def test_clipping_without_gradients_is_zero() -> None:
    assert clip_by_global_norm([torch.zeros(1)], 1.0) == 0
