"""The masked squared error: padded actions count nowhere."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from experiments_il.losses import L1, L2, L2Loss, masked_mean
from trainer_core.protocols import LossFactory

MASK = torch.tensor([[True, True, False], [True, False, False]])


def loss_and_gradient(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    leaf = prediction.clone().requires_grad_()
    loss = L2()(leaf, target, mask)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def test_factory_builds_the_loss() -> None:
    factory = L2Loss()
    assert isinstance(factory, LossFactory)
    assert isinstance(factory.build(), L2)


def test_mean_is_over_real_elements() -> None:
    error = torch.arange(12.0).reshape(2, 3, 2)
    assert float(masked_mean(error, MASK)) == pytest.approx((0 + 1 + 2 + 3 + 6 + 7) / 6)


def test_without_mask_it_is_the_plain_mean() -> None:
    prediction, target = torch.randn(2, 3, 2), torch.randn(2, 3, 2)
    expected = torch.nn.functional.mse_loss(prediction, target)
    assert torch.equal(L2()(prediction, target), expected)
    assert torch.allclose(L2()(prediction, target, torch.ones(2, 3, dtype=torch.bool)), expected)


@pytest.mark.parametrize("value", [1e30, float("inf"), float("nan")])
def test_padded_targets_change_nothing(value: float) -> None:
    prediction, target = torch.randn(2, 3, 2), torch.randn(2, 3, 2)
    other = torch.where(MASK.unsqueeze(-1), target, value)
    loss, gradient = loss_and_gradient(prediction, target, MASK)
    other_loss, other_gradient = loss_and_gradient(prediction, other, MASK)
    assert torch.equal(loss, other_loss)
    assert torch.equal(gradient, other_gradient)


@pytest.mark.parametrize("loss", [L1(), L2()])
@pytest.mark.parametrize("mask", [None, MASK, MASK & False])
def test_losses_of_samples_are_those_of_batches_of_one(loss: L1 | L2, mask: Tensor | None) -> None:
    prediction, target = torch.randn(2, 3, 2), torch.randn(2, 3, 2)
    single = [
        loss(prediction[i : i + 1], target[i : i + 1], None if mask is None else mask[i : i + 1])
        for i in range(2)
    ]
    torch.testing.assert_close(loss.of_samples(prediction, target, mask), torch.stack(single))


def test_padded_predictions_get_no_gradient() -> None:
    _, gradient = loss_and_gradient(torch.randn(2, 3, 2), torch.randn(2, 3, 2), MASK)
    assert float(gradient[~MASK].abs().sum()) == 0.0
    assert float(gradient[MASK].abs().min()) > 0.0


def test_only_padding_gives_zero() -> None:
    loss, gradient = loss_and_gradient(
        torch.randn(2, 3, 2), torch.randn(2, 3, 2), torch.zeros_like(MASK)
    )
    assert float(loss) == 0.0
    assert float(gradient.abs().sum()) == 0.0


@given(scale=st.floats(-4, 4))
def test_loss_grows_with_the_square(scale: float) -> None:
    error = torch.ones(2, 3, 2, dtype=torch.float64)
    assert float(L2()(scale * error, 0 * error, MASK)) == pytest.approx(scale * scale)
