"""The regression baseline: its loss, its policy, and what it cannot do."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import MLPActionDecoder, TransformerActionDecoder
from experiments_il.blocks.info import InfoEmbedder
from experiments_il.blocks.state import StateEncoder
from experiments_il.execution import Executor
from experiments_il.losses import L1, L2
from experiments_il.trainers.regression_policy import RegressionPolicyTrainer
from trainer_core.errors import DatasetError, UserError
from trainer_core.normalize import Normalizer
from trainer_core.protocols import StepContext
from trainer_core.random import KeyedRandom
from trainer_core.step import StepOptions

STATE = "observation.state"
HORIZON, ACTION, WIDTH = 4, 2, 16


def make_trainer(decoder: str = "mlp", **options: Any) -> RegressionPolicyTrainer:
    torch.manual_seed(0)
    models = nn.ModuleDict(
        {
            "state_encoder": StateEncoder(3, WIDTH, hidden=[32]),
            "info_embedder": InfoEmbedder({STATE: WIDTH}, WIDTH),
            "action_decoder": MLPActionDecoder(ACTION, HORIZON, 1, WIDTH, width=128)
            if decoder == "mlp"
            else TransformerActionDecoder(ACTION, HORIZON, WIDTH, layers=2, heads=2),
        }
    )
    optimizer = torch.optim.Adam(models.parameters(), lr=1e-3)
    arguments: dict[str, Any] = {"loss": L2(), "n_action_steps": 2, "device": "cpu"} | options
    return RegressionPolicyTrainer(models, {"default": optimizer}, **arguments)


def make_batch(size: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    pad = torch.arange(HORIZON).expand(size, HORIZON) >= 1 + torch.arange(size).unsqueeze(1) % 4
    return {
        STATE: torch.randn(size, 3, generator=generator),
        "action": torch.randn(size, HORIZON, ACTION, generator=generator),
        "action_is_pad": pad,
    }


def make_context(count: int) -> StepContext:
    return StepContext(step=0, total_steps=10, epoch=0, random=KeyedRandom(0, 0, total=count))


@pytest.mark.parametrize(("loss", "power"), [(L2(), 2), (L1(), 1)])
def test_new_network_pays_the_size_of_the_real_actions(loss: nn.Module, power: int) -> None:
    batch = make_batch()
    found, _ = make_trainer(loss=loss).compute_losses(batch, make_context(8))
    expected = batch["action"][~batch["action_is_pad"]].abs().pow(power).mean()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("decoder", ["mlp", "transformer"])
def test_padded_actions_change_nothing(decoder: str) -> None:
    batch, trainer = make_batch(), make_trainer(decoder)
    other = dict(batch)
    other["action"] = torch.where(batch["action_is_pad"].unsqueeze(-1), 9.0, batch["action"])
    gradients = []
    for each in (batch, other):
        loss, _ = trainer.compute_losses(each, make_context(8))
        weights = [p for p in trainer.models.parameters() if p.requires_grad]
        gradients.append(torch.autograd.grad(loss, weights, allow_unused=True))
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_told_losses_have_the_loss_as_their_mean_over_real_actions() -> None:
    told: list[Tensor] = []
    batch, where = make_batch(), make_context(8)
    where.listener = told.append
    loss, _ = make_trainer().compute_losses(batch, where)
    real = (~batch["action_is_pad"]).sum(1)
    torch.testing.assert_close((told[0] * real).sum() / real.sum(), loss.detach())
    assert len(set(told[0].tolist())) == 8


def test_two_micro_batches_equal_one_batch() -> None:
    losses, weights = [], []
    for parts in (1, 2):
        trainer = make_trainer()
        trainer.configure(
            StepOptions(seed=0, total_steps=1, global_batch=8, grad_accum_steps=parts)
        )
        metrics = trainer.train_step(make_batch(), epoch=0, total_epochs=1, iterations=0)
        losses.append(metrics["loss"])
        weights.append([p.detach().clone() for p in trainer.models.parameters()])
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(weights[0], weights[1])


def test_one_batch_is_learned_by_heart() -> None:
    trainer, batch = make_trainer(), make_batch()
    for step in range(400):
        metrics = trainer.train_step(batch, epoch=0, total_epochs=1, iterations=step)
    assert float(metrics["loss"]) < 1e-3


def test_policy_returns_the_prediction_in_the_data_sets_units() -> None:
    trainer, batch = make_trainer(), make_batch()
    for step in range(400):
        trainer.train_step(batch, epoch=0, total_epochs=1, iterations=step)
    statistics = {"action": {"mode": "mean_std", "mean": [3.0, 3.0], "std": [2.0, 2.0]}}
    chunks = trainer.policy(Normalizer(statistics)).act({STATE: batch[STATE].unsqueeze(1)})
    real = ~batch["action_is_pad"]
    torch.testing.assert_close(chunks[real], 3 + 2 * batch["action"][real], atol=0.2, rtol=0)


def test_policy_is_deterministic_and_plays() -> None:
    policy = make_trainer().policy(Normalizer({}))
    plays = []
    for seed in (0, 1):
        executor = Executor(policy, seed=seed)
        executor.start(0, episode=seed)
        plays.append([executor.act({0: {STATE: torch.ones(3)}})[0] for _ in range(5)])
    torch.testing.assert_close(plays[0], plays[1], atol=0, rtol=0)


def test_of_two_ways_it_predicts_the_middle(two_modes: Any) -> None:
    models = nn.ModuleDict(
        two_modes.encoders() | {"action_decoder": MLPActionDecoder(2, 8, 1, 32, width=32)}
    )
    optimizer = torch.optim.Adam(models.parameters(), lr=3e-3)
    trainer = RegressionPolicyTrainer(models, {"default": optimizer}, L2(), "cpu")
    two_modes.train(trainer, steps=150)
    chunk = trainer.policy(Normalizer({})).act({STATE: torch.zeros(1, 1, 1)})[0]
    assert chunk[:, 0].abs().max() < 0.2
    torch.testing.assert_close(chunk[:, 1], torch.linspace(-1, 1, 8), atol=0.1, rtol=0)


def test_missing_loss_is_said() -> None:
    with pytest.raises(
        UserError, match=r"needs a `loss:` section, for example `loss: {_type_: l2}"
    ):
        make_trainer(loss=None)


def test_chunk_of_another_length_names_both_places() -> None:
    batch = make_batch() | {"action": torch.zeros(8, 5, ACTION)}
    with pytest.raises(DatasetError, match=r"shape \(8, 5, 2\), expected \(batch, 4, 2\)"):
        make_trainer().compute_losses(batch, make_context(8))


def test_parameters_of_sampling_are_unknown() -> None:
    with pytest.raises(TypeError, match="num_inference_steps"):
        make_trainer(num_inference_steps=10)
