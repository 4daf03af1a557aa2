"""The quantised, guided trainer: codes, guidance, averages, and its two modes."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import MLPActionDecoder
from experiments_il.blocks.chunk_encoder import TokenPosterior
from experiments_il.blocks.code_prior import CategoricalCodePrior, RegressionCodePrior
from experiments_il.blocks.codebook import NSVQCodebook
from experiments_il.blocks.latent_embedder import LatentEmbedder
from experiments_il.losses import SinkhornKnopp
from experiments_il.schedule_free import RAdamScheduleFree
from experiments_il.trainers.cfg_vqvae_flow_matching import CFGVQVAEFlowMatchingTrainer
from trainer_core.errors import UserError
from trainer_core.protocols import StepContext
from trainer_core.random import KeyedRandom
from trainer_core.step import StepOptions

Z, C, K = 4, 4, 1


def make_models(task: Any, prior: nn.Module | None = None) -> nn.ModuleDict:
    torch.manual_seed(0)
    h, a, w = task.horizon, task.action_dim, task.width
    return nn.ModuleDict(
        {
            **task.encoders(),
            "posterior": TokenPosterior(a, h, K, Z, w, 64),
            "codebook": NSVQCodebook(C, Z),
            "prior": CategoricalCodePrior(C, K, w, 64) if prior is None else prior,
            "latent_embedder": LatentEmbedder(Z, w, K, null=True),
            "action_decoder": MLPActionDecoder(a, h, 1 + K, w, 64),
        }
    )


def make_trainer(
    task: Any, models: nn.ModuleDict | None = None, loss: nn.Module | None = None, **settings: Any
) -> CFGVQVAEFlowMatchingTrainer:
    models = make_models(task) if models is None else models
    optimizer = settings.pop("optimizer", torch.optim.Adam(models.parameters(), lr=3e-3))
    options = {"average_decay": 0.98, "window": 25, "replace_until": 100} | settings
    return CFGVQVAEFlowMatchingTrainer(
        models, {"default": optimizer}, loss, "cpu", n_action_steps=4, **options
    )


def randomize(models: nn.ModuleDict) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in models.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)


def context(size: int = 16) -> StepContext:
    return StepContext(0, 10, 0, KeyedRandom(0, 0, total=size))


def step(trainer: CFGVQVAEFlowMatchingTrainer, batch: dict[str, Tensor], number: int = 0) -> Any:
    return trainer.train_step(batch, epoch=0, total_epochs=1, iterations=number)


def test_two_modes_are_drawn_from_the_prior(two_modes: Any) -> None:
    trainer = make_trainer(two_modes)
    two_modes.train(trainer, 350, size=96)
    for evaluations in (1, 10):
        assert min(two_modes.shares(trainer, evaluations)) > 0.2  # without a latent 0 at one


def test_regression_prior_takes_one_mode_or_none(two_modes: Any) -> None:
    prior = RegressionCodePrior(Z, K, two_modes.width, 64)
    trainer = make_trainer(two_modes, make_models(two_modes, prior))
    two_modes.train(trainer, 200, size=96)
    assert min(two_modes.shares(trainer, 10)) < 0.05


def test_codes_begin_as_latents_of_the_first_batch(two_modes: Any) -> None:
    models, batch = make_models(two_modes), two_modes.batch(64, 0)
    resting = torch.optim.SGD(models.parameters(), lr=0.0)
    trainer = make_trainer(two_modes, models, optimizer=resting)
    step(trainer, batch)
    assert not trainer.codebook.wants_latents
    with torch.no_grad():
        assert int(trainer.codebook.collected) == 10 * C
        metrics = trainer.compute_losses(batch, context(64))[1]
    assert float(metrics["codes_in_use"]) > C / 2


def test_told_losses_have_the_velocity_loss_as_their_mean_over_real_actions(two_modes: Any) -> None:
    told: list[Tensor] = []
    trainer, batch = make_trainer(two_modes), two_modes.batch(16, 0)
    lengths = 1 + torch.arange(16).unsqueeze(1) % two_modes.horizon
    batch["action_is_pad"] = torch.arange(two_modes.horizon).expand(16, -1) >= lengths
    randomize(trainer.models)
    where = trainer.make_context(batch, step=0, epoch=0)
    where.listener = told.append
    _, metrics = trainer.compute_losses(batch, where)
    real = (~batch["action_is_pad"]).sum(1)
    torch.testing.assert_close((told[0] * real).sum() / real.sum(), metrics["velocity"])
    assert len(set(told[0].tolist())) == 16


def test_two_micro_batches_equal_one_batch(two_modes: Any) -> None:
    found = []
    batch = two_modes.batch(16, 0)
    lengths = 1 + torch.arange(16).unsqueeze(1) % two_modes.horizon
    batch["action_is_pad"] = torch.arange(two_modes.horizon).expand(16, -1) >= lengths
    for parts in (1, 2):
        models = make_models(two_modes)
        trainer = make_trainer(two_modes, models, SinkhornKnopp(group=8))
        trainer.configure(StepOptions(grad_accum_steps=parts, global_batch=16))
        for number in range(3):
            step(trainer, batch, number)
        found.append({name: tensor.clone() for name, tensor in models.state_dict().items()})
    for name, tensor in found[0].items():
        assert torch.allclose(tensor, found[1][name], atol=1e-4), name


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
def test_guidance_extrapolates_between_the_fields(two_modes: Any, guidance: float) -> None:
    models = make_models(two_modes)
    randomize(models)
    trainer = make_trainer(two_modes, models, guidance=guidance)
    memory, noise = torch.zeros(6, 1, two_modes.width), torch.randn(6, K)
    x, t, decoder = torch.randn(6, 8, 2), torch.zeros(6), trainer.decoder
    prior: Any = models["prior"]
    with torch.no_grad():
        latents = trainer.codebook.codes[prior.choose(prior(memory), noise, trainer.codebook)]
        known = decoder(x, t, trainer._with_latent(memory, latents))
        none = torch.zeros(6, dtype=torch.bool)
        hidden = decoder(x, t, trainer._with_latent(memory, latents, none))
        found = trainer.condition().field(memory, noise)(x, t)
    assert torch.allclose(found, hidden + guidance * (known - hidden), atol=1e-6)


def test_hidden_samples_leave_posterior_and_codebook_alone(two_modes: Any) -> None:
    models = make_models(two_modes)
    randomize(models)
    trainer = make_trainer(two_modes, models, drop=0.999999)
    _, terms = trainer.compute_losses(two_modes.batch(16, 0), context())
    torch.autograd.backward(terms["velocity"])  # type: ignore[arg-type]
    for name in ("posterior", "codebook"):
        gradients = [p.grad for p in models[name].parameters() if p.grad is not None]
        assert all(float(gradient.abs().sum()) == 0 for gradient in gradients)


def test_prior_draws_its_distribution(two_modes: Any) -> None:
    prior = CategoricalCodePrior(3, 1, 8, 8)
    logits = torch.log(torch.tensor([0.5, 0.2, 0.3])).expand(20_000, 1, 3)
    noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    codes = prior.choose(logits, noise, NSVQCodebook(3, 2))
    share = torch.bincount(codes.flatten(), minlength=3) / 20_000
    assert share.tolist() == pytest.approx([0.5, 0.2, 0.3], abs=0.015)


def test_average_follows_its_recursion(two_modes: Any) -> None:
    trainer = make_trainer(two_modes, average_decay=0.9)
    posterior = trainer.models["posterior"].mlp.layers[0].weight  # type: ignore[union-attr, index]
    expected = posterior.detach().double().clone()
    for number in range(30):
        step(trainer, two_modes.batch(16, number), number)
        expected = 0.9 * expected + 0.1 * posterior.detach().double()
    average = trainer.models["posterior_average"].mlp.layers[0].weight  # type: ignore[union-attr, index]
    assert torch.allclose(average.double(), expected, atol=1e-6)
    assert not average.requires_grad


@pytest.mark.parametrize("kind", ["adam", "schedule_free"])
def test_optimizer_forgets_replaced_codes(two_modes: Any, kind: str) -> None:
    models = make_models(two_modes)
    optimizer: torch.optim.Optimizer
    if kind == "adam":
        optimizer = torch.optim.Adam(models.parameters(), 1e-2, amsgrad=True)
    else:
        optimizer = RAdamScheduleFree(models.parameters(), 1e-2)
    trainer = make_trainer(two_modes, models, optimizer=optimizer)
    for number in range(6):
        step(trainer, two_modes.batch(64, number), number)
    codes = trainer.codebook.codes
    before = copy.deepcopy(optimizer.state[codes])
    trainer.codebook.usage.copy_(torch.tensor([100.0, 0.0, 80.0, 0.0]))
    trainer._replace_dead(6)
    state, dead = optimizer.state[codes], [1, 3]
    if kind == "adam":
        for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
            assert float(state[name][dead].abs().sum()) == 0
            assert torch.equal(state[name][[0, 2]], before[name][[0, 2]])
    else:
        assert float(state["exp_avg_sq"][dead].abs().sum()) == 0
        assert torch.equal(state["z"][dead], codes[dead])
    assert float(trainer.codebook.usage.sum()) == 0


def test_codes_are_left_alone_after_the_last_replacement(two_modes: Any) -> None:
    trainer = make_trainer(two_modes, replace_until=5)
    before = trainer.codebook.codes.detach().clone()
    trainer.codebook.usage.copy_(torch.tensor([100.0, 0.0, 80.0, 0.0]))
    trainer._replace_dead(5)
    assert torch.equal(trainer.codebook.codes, before)


def test_codebook_of_another_kind_is_refused(two_modes: Any) -> None:
    models = make_models(two_modes)
    models["codebook"] = nn.Linear(2, 2)
    with pytest.raises(UserError) as caught:
        make_trainer(two_modes, models)
    assert str(caught.value) == "models.codebook is a Linear; use nsvq_codebook"
