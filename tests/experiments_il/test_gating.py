"""The losses of a mixture's gate."""

import math

import pytest
import torch

from experiments_il.gating import (
    MoEGatingLoss,
    load_balance_loss,
    router_z_loss,
    routing,
    routing_information_loss,
)
from trainer_core.errors import UserError


def test_uniform_routing_costs_one() -> None:
    logits = 1e-6 * torch.eye(4).repeat(2, 1)
    assert float(load_balance_loss(logits)) == pytest.approx(1, abs=1e-6)


def test_collapsed_routing_costs_the_number_of_experts() -> None:
    logits = torch.tensor([[50.0, 0, 0, 0]]).repeat(6, 1)
    assert float(load_balance_loss(logits)) == pytest.approx(4, abs=1e-6)


def test_gradient_lowers_the_logit_of_the_busy_expert() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.5]], requires_grad=True)
    load_balance_loss(logits).backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    assert logits.grad is not None
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 1] < 0).all()


def test_z_loss_has_its_hand_value() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    expected = (math.log(2) ** 2 + (1 + math.log(2)) ** 2) / 2
    assert float(router_z_loss(logits)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shares", "information"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], math.log(2)),
        ([[1.0, 0.0], [1.0, 0.0]], 0.0),
        ([[0.5, 0.5], [0.5, 0.5]], 0.0),
    ],
)
def test_certain_and_equal_choices_tell_most(shares: list[list[float]], information: float) -> None:
    assert float(routing_information_loss(torch.tensor(shares))) == pytest.approx(-information)


def test_information_of_parts_adds_up_to_that_of_the_whole() -> None:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = []
    for size in (8, 4):
        leaf = logits.clone().requires_grad_()
        shares = leaf.softmax(-1)
        parts = shares.reshape(-1, size, 3)
        losses = [routing_information_loss(part, shares.mean(0)) for part in parts]
        torch.autograd.backward(sum(losses) / len(losses))  # type: ignore[arg-type]
        gradients.append(leaf.grad)
    assert torch.allclose(gradients[0], gradients[1])  # type: ignore[arg-type]


def test_parts_with_the_fractions_of_the_whole_add_up() -> None:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    fractions = routing(logits).mean(0)
    parts = [load_balance_loss(part, fractions) for part in (logits[:4], logits[4:])]
    assert float(sum(parts)) / 2 == pytest.approx(float(load_balance_loss(logits)), rel=1e-6)


def test_factory_weighs_the_two() -> None:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    expected = 0.5 * load_balance_loss(logits) + 0.25 * router_z_loss(logits)
    loss = MoEGatingLoss(0.5, 0.25).build()
    assert torch.allclose(loss(logits), expected)
    assert torch.allclose(loss(logits, routing(logits)), expected)


def test_half_precision_logits_are_measured_in_full() -> None:
    logits = torch.randn(4, 3).bfloat16()
    assert MoEGatingLoss().build()(logits).dtype == torch.float32


def test_negative_weight_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        MoEGatingLoss(z_weight=-1.0)
    assert str(caught.value) == "z_weight must be at least 0, got -1"
