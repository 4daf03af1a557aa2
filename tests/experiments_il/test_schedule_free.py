"""Schedule-free RAdam: against the authors' package; its two sets of weights; resume."""

import copy
from typing import Any

import pytest
import schedulefree
import torch
from torch import Tensor, nn

from experiments_il.schedule_free import RAdamScheduleFree, ScheduleFreeRAdam
from trainer_core.errors import UserError


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (4,))]


def descend(weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        sum((weight - 1).pow(4).sum() + weight.sin().sum() for weight in weights).backward()  # type: ignore[union-attr]
        optimizer.step()


def values(weights: list[nn.Parameter]) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in weights])


@pytest.mark.parametrize(
    "options",
    [{}, {"betas": (0.95, 0.95), "weight_decay": 0.1}, {"r": 1.0, "weight_lr_power": 1.0}],
)
def test_steps_equal_those_of_the_package(options: dict[str, Any]) -> None:
    ours, theirs = parameters(), parameters()
    own = ScheduleFreeRAdam(lr=0.02, **options).build([{"params": ours, "name": "model"}])
    oracle = schedulefree.RAdamScheduleFree(theirs, lr=0.02, foreach=False, **options)
    oracle.train()
    descend(ours, own, 200)
    descend(theirs, oracle, 200)
    assert torch.allclose(values(ours), values(theirs), atol=1e-6)
    own.eval()  # type: ignore[attr-defined]
    oracle.eval()
    assert torch.allclose(values(ours), values(theirs), atol=1e-6)


@pytest.mark.parametrize("beta2", [0.95, 0.999])
def test_weights_move_from_the_fifth_step_on(beta2: float) -> None:
    weights = parameters()
    optimizer = RAdamScheduleFree(weights, lr=0.1, betas=(0.9, beta2))
    before = values(weights)
    descend(weights, optimizer, 4)
    assert torch.equal(values(weights), before)
    descend(weights, optimizer, 1)
    assert not torch.equal(values(weights), before)


def test_training_weights_come_back_bit_for_bit() -> None:
    weights = parameters()
    optimizer = RAdamScheduleFree(weights, lr=0.1)
    descend(weights, optimizer, 20)
    training = values(weights)
    optimizer.eval()
    optimizer.eval()
    assert not torch.equal(values(weights), training)
    optimizer.train()
    optimizer.train()
    assert torch.equal(values(weights), training)


def test_step_on_averaged_weights_is_refused() -> None:
    optimizer = RAdamScheduleFree(parameters())
    optimizer.eval()
    with pytest.raises(UserError) as caught:
        optimizer.step()
    assert str(caught.value) == (
        "the parameters hold the averaged weights: call train() before step()"
    )


def test_resumed_steps_equal_uninterrupted_ones() -> None:
    weights = parameters()
    optimizer = RAdamScheduleFree(weights, lr=0.1)
    descend(weights, optimizer, 7)
    others = copy.deepcopy(weights)
    resumed = RAdamScheduleFree(others, lr=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(weights, optimizer, 7)
    descend(others, resumed, 7)
    assert torch.equal(values(weights), values(others))


def test_gradients_are_left_alone() -> None:
    weights = parameters()
    optimizer = RAdamScheduleFree(weights, lr=0.1)
    descend(weights, optimizer, 9)
    gradients = [weight.grad.clone() for weight in weights if weight.grad is not None]
    optimizer.step(lambda: 3.0)
    for weight, gradient in zip(weights, gradients, strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.grad, gradient)


def test_parameters_without_gradient_stay() -> None:
    weights = parameters()
    before = values(weights)
    RAdamScheduleFree(weights, lr=0.1).step()
    assert torch.equal(values(weights), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be above 0, got 0"),
        ({"betas": (0.0, 0.9)}, "betas must lie between 0 and 1, got 0, 0.9"),
    ],
)
def test_impossible_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        ScheduleFreeRAdam(**options)
    assert str(caught.value) == message
