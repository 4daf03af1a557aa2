from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from trainer_core.errors import TrainerError
from trainer_core.step import LossTrainer, StepOptions
from trainer_core.update import clip_by_global_norm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.protocols import Batch, StepContext

CPU = torch.device("cpu")


class MaskedTrainer(LossTrainer):
    """A mean over real elements plus noise, the hard case for accumulation."""

    told: int | None = None

    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        noise = step.random.normal(2, stream="noise")
        error = (self.models["net"](batch["x"]) - batch["y"] - noise).square().mean(-1)
        mask = batch["mask"]
        step.tell_sample_losses(error[: self.told])
        total = (error * mask).sum() / mask.sum().clamp(min=1)
        return total, {"worst": error.max(), "fixed": 2.0}

    def loss_weight(self, batch: Batch) -> Tensor | int:
        weight: Tensor = batch["mask"].sum()
        return weight


def make_trainer(**options: Any) -> MaskedTrainer:
    torch.manual_seed(0)
    models = nn.ModuleDict({"net": nn.Linear(3, 2)})
    optimizer = torch.optim.SGD(models.parameters(), lr=0.1)
    trainer = MaskedTrainer(models, {"default": optimizer}, None, CPU)
    trainer.configure(StepOptions(global_batch=8, **options))
    return trainer


def weight_of(trainer: LossTrainer) -> Tensor:
    return trainer.models["net"].get_parameter("weight").detach()


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return {
        "x": torch.randn(8, 3, generator=generator),
        "y": torch.randn(8, 2, generator=generator),
        "mask": torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 1]),
    }


def step_once(**options: Any) -> tuple[Tensor, dict[str, Any]]:
    trainer = make_trainer(**options)
    metrics = trainer.train_step(make_batch(), epoch=0, total_epochs=1, iterations=3)
    return weight_of(trainer), metrics


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_equal_the_whole_batch(parts: int) -> None:
    whole, logged = step_once()
    cut, logged_in_parts = step_once(grad_accum_steps=parts)
    assert torch.allclose(whole, cut, atol=1e-6)
    assert float(logged["loss"]) == pytest.approx(float(logged_in_parts["loss"]), rel=1e-5)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_losses_of_samples_are_told_once_and_in_the_order_of_the_batch(parts: int) -> None:
    told: list[Tensor] = []
    trainer = make_trainer(grad_accum_steps=parts)
    before = trainer.models["net"](make_batch()["x"]).detach()
    trainer.on_sample_losses = told.append
    trainer.train_step(make_batch(), epoch=0, total_epochs=1, iterations=3)
    noise = trainer.make_context(make_batch(), step=3, epoch=0).random.normal(2, stream="noise")
    expected = (before - make_batch()["y"] - noise).square().mean(-1)
    torch.testing.assert_close(told[0], expected)
    assert (len(told), told[0].requires_grad) == (1, False)


def refuse(losses: Tensor) -> None:
    pytest.fail(f"{losses} were told")


def test_nobody_is_told_losses_unless_asked_for_and_never_while_validating() -> None:
    trainer = make_trainer()
    assert not trainer.make_context(make_batch(), step=0, epoch=0).wants_sample_losses
    trainer.on_sample_losses = refuse
    context = trainer.make_context(make_batch(), step=0, epoch=0, training=False)
    trainer.validation_step(make_batch(), context)


def test_losses_that_are_not_one_for_each_sample_are_refused() -> None:
    trainer = make_trainer()
    trainer.told, trainer.on_sample_losses = 5, refuse
    with pytest.raises(TrainerError) as caught:
        trainer.train_step(make_batch(), epoch=0, total_epochs=1, iterations=0)
    assert str(caught.value) == ("tell_sample_losses was given 5 losses for a batch of 8 samples")


def test_batch_of_padding_has_no_gradient() -> None:
    trainer = make_trainer(grad_accum_steps=2)
    before = weight_of(trainer).clone()
    batch = make_batch() | {"mask": torch.zeros(8)}
    trainer.train_step(batch, epoch=0, total_epochs=1, iterations=0)
    assert torch.equal(weight_of(trainer), before)


def test_metrics_are_detached_scalars() -> None:
    _, metrics = step_once(grad_clip_norm=1.0)
    assert set(metrics) == {"loss", "worst", "fixed", "grad_norm"}
    assert not any(value.requires_grad for value in metrics.values() if isinstance(value, Tensor))


def test_bf16_computes_in_bf16_and_keeps_weights() -> None:
    weight, metrics = step_once(precision="bf16")
    full, exact = step_once()
    assert weight.dtype == torch.float32
    assert not torch.equal(weight, full)
    assert float(metrics["loss"]) == pytest.approx(float(exact["loss"]), rel=0.05)


def test_validation_noise_is_the_same_each_time() -> None:
    trainer = make_trainer()
    context = trainer.make_context(make_batch(), step=0, epoch=0, training=False)
    again = trainer.make_context(make_batch(), step=0, epoch=5, training=False)
    assert not context.training
    first = trainer.validation_step(make_batch(), context)
    assert first["loss"] == trainer.validation_step(make_batch(), again)["loss"]


def test_trainer_without_prediction_says_so() -> None:
    trainer = make_trainer()
    context = trainer.make_context(make_batch(), step=0, epoch=0)
    with pytest.raises(NotImplementedError):
        trainer.predict(make_batch(), context)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_equals_that_of_torch(max_norm: float) -> None:
    ours, theirs = ([torch.zeros(3, requires_grad=True) for _ in range(2)] for _ in range(2))
    for parameter, other in zip(ours, theirs, strict=True):
        parameter.grad = torch.arange(3.0)
        other.grad = torch.arange(3.0)
    norm = clip_by_global_norm(ours, max_norm)
    assert norm == nn.utils.clip_grad_norm_(theirs, max_norm)
    for parameter, other in zip(ours, theirs, strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        assert torch.equal(parameter.grad, other.grad)


def test_clipping_without_gradients_is_zero() -> None:
    assert clip_by_global_norm([torch.zeros(1)], 1.0) == 0
