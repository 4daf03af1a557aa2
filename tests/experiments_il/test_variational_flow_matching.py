"""The variational trainer: its terms, its routing of gradients, its sampling, its two modes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import MLPActionDecoder
from experiments_il.blocks.chunk_encoder import GaussianPosterior
from experiments_il.blocks.expert_decoder import MLPExpertDecoder
from experiments_il.blocks.gate import ExpertGate
from experiments_il.blocks.latent_embedder import LatentEmbedder
from experiments_il.blocks.prior import FlowPrior, StandardPrior
from experiments_il.losses import L2, SinkhornKnopp
from experiments_il.trainers.variational_flow_matching import VariationalFlowMatchingPolicyTrainer
from trainer_core.errors import UserError
from trainer_core.normalize import Normalizer
from trainer_core.protocols import StepContext
from trainer_core.random import KeyedRandom
from trainer_core.step import StepOptions

Z, E = 2, 2


def make_models(task: Any, prior: nn.Module | None = None) -> nn.ModuleDict:
    torch.manual_seed(0)
    h, a, w = task.horizon, task.action_dim, task.width
    return nn.ModuleDict(
        {
            **task.encoders(),
            "posterior": GaussianPosterior(a, h, Z, w, 64),
            "prior": FlowPrior(Z, w, 64) if prior is None else prior,
            "gate": ExpertGate(E, Z, w, 64),
            "latent_embedder": LatentEmbedder(Z, w),
            "action_decoder": MLPExpertDecoder(a, h, E, 2, w, 64),
        }
    )


def make_trainer(
    task: Any,
    models: nn.ModuleDict | None = None,
    loss: nn.Module | None = None,
    options: StepOptions | None = None,
    **settings: Any,
) -> VariationalFlowMatchingPolicyTrainer:
    models = make_models(task) if models is None else models
    optimizer = torch.optim.Adam(models.parameters(), lr=3e-3)
    trainer = VariationalFlowMatchingPolicyTrainer(
        models, {"default": optimizer}, loss, "cpu", n_action_steps=4, **settings
    )
    if options is not None:
        trainer.configure(options)
    return trainer


def randomize(models: nn.ModuleDict) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in models.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)


def padded_batch(task: Any, size: int = 16) -> dict[str, Tensor]:
    batch: dict[str, Tensor] = task.batch(size, 0)
    lengths = 1 + torch.arange(size).unsqueeze(1) ** 2 % task.horizon
    return batch | {"action_is_pad": torch.arange(task.horizon).expand(size, -1) >= lengths}


def context(size: int = 16) -> StepContext:
    return StepContext(0, 10, 0, KeyedRandom(0, 0, total=size))


def test_two_modes_are_sampled_in_a_single_step(two_modes: Any) -> None:
    trainer = make_trainer(two_modes)
    metrics = two_modes.train(trainer, 450, size=96)
    left, right = two_modes.shares(trainer, evaluations=1)
    assert min(left, right) > 0.2  # without a latent: 0
    assert left + right > 0.5
    assert float(metrics["active_latents"]) >= 1
    assert float(metrics["gate_certainty"]) > 0.9
    assert 0.5 <= float(metrics["busiest_expert"]) < 0.75


@pytest.mark.parametrize(("towards", "agreement"), [(1.0, 1.0), (-1.0, 0.0)])
def test_agreement_is_that_of_the_experts_of_both_latents(
    two_modes: Any, monkeypatch: pytest.MonkeyPatch, towards: float, agreement: float
) -> None:
    trainer = make_trainer(two_modes)
    batch = padded_batch(two_modes)
    seen: list[Tensor] = []

    def gate(memory: Tensor, z: Tensor) -> Tensor:
        seen.append(memory)
        side = 1.0 if len(seen) == 1 else towards  # of the posterior's latent, then the prior's
        return torch.tensor([[side, -side]]).expand(len(z), -1)

    monkeypatch.setattr(trainer.models["gate"], "forward", gate)
    trainer.make_context(batch, step=0, epoch=0)
    _, metrics = trainer.compute_losses(batch, context())
    assert float(metrics["gate_agreement"]) == agreement


def test_agreement_is_measured_every_twenty_steps_and_changes_nothing(two_modes: Any) -> None:
    trainer = make_trainer(two_modes)
    batch = padded_batch(two_modes)
    trainer.make_context(batch, step=0, epoch=0)
    for step in (0, 1, 20):
        where = StepContext(step, 30, 0, KeyedRandom(0, 0, total=16))
        total, metrics = trainer.compute_losses(batch, where)
        assert ("gate_agreement" in metrics) == (step != 1)
        assert total == trainer.compute_losses(batch, where)[0]
    val = StepContext(1, 30, 0, KeyedRandom(0, 0, total=16), training=False)
    assert "gate_agreement" in trainer.compute_losses(batch, val)[1]


def test_weak_divergence_without_learned_prior_or_sure_gate_fails(two_modes: Any) -> None:
    models = make_models(two_modes, StandardPrior(Z))
    trainer = make_trainer(two_modes, models, beta=0.0, gate_information_weight=0.0)
    two_modes.train(trainer, 400, size=96)
    assert sum(two_modes.shares(trainer, evaluations=10)) < 0.6


def test_terms_add_up(two_modes: Any) -> None:
    trainer = make_trainer(two_modes, loss=SinkhornKnopp(group=8), beta=0.5)
    batch = padded_batch(two_modes)
    trainer.make_context(batch, step=0, epoch=0)
    with torch.no_grad():
        total, terms = trainer.compute_losses(batch, context())
    weights = {"velocity": 1.0, "kl": 0.5, "prior": 1, "transport": 0.2, "load_balance": 0.01}
    weights["gate_information"] = 0.5
    expected = sum(weight * float(terms[name]) for name, weight in weights.items())
    assert float(total) == pytest.approx(expected + 1e-3 * float(terms["gate_z"]), rel=1e-5)


def test_told_losses_have_the_velocity_loss_as_their_mean_over_real_actions(two_modes: Any) -> None:
    told: list[Tensor] = []
    trainer, batch = make_trainer(two_modes), padded_batch(two_modes)
    randomize(trainer.models)
    where = trainer.make_context(batch, step=0, epoch=0)
    where.listener = told.append
    _, metrics = trainer.compute_losses(batch, where)
    real = (~batch["action_is_pad"]).sum(1)
    torch.testing.assert_close((told[0] * real).sum() / real.sum(), metrics["velocity"])
    assert len(set(told[0].tolist())) == 16


def test_two_micro_batches_equal_one_batch(two_modes: Any) -> None:
    gradients = []
    for parts in (1, 2):
        models = make_models(two_modes)
        randomize(models)
        options = StepOptions(grad_accum_steps=parts, global_batch=16)
        loss = SinkhornKnopp(group=4)
        trainer = make_trainer(
            two_modes, models, loss, load_balance_weight=0.0, gate_information_weight=0.0
        )
        trainer.configure(options)
        trainer.compute_gradients(padded_batch(two_modes), epoch=0, iterations=0)
        gradients.append({name: p.grad for name, p in models.named_parameters()})
    assert all(gradient is not None for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name  # type: ignore[arg-type]


def test_padded_actions_change_nothing(two_modes: Any) -> None:
    models = make_models(two_modes)
    randomize(models)
    trainer = make_trainer(two_modes, models)
    batch = padded_batch(two_modes)
    # What a padded action becomes on its path is visible to the decoder, so the path is kept.
    trainer.draw = lambda data, step: (torch.zeros_like(data), data * 0 + 1, torch.zeros(16))  # type: ignore[method-assign]
    losses = []
    for value in (0.0, 7.0):
        pad = batch["action_is_pad"].unsqueeze(-1)
        changed = batch | {"action": torch.where(pad, value, batch["action"])}
        losses.append(trainer.compute_losses(changed, context())[0])
    assert torch.equal(losses[0], losses[1])


def test_latent_changes_every_expert(two_modes: Any) -> None:
    models = make_models(two_modes)
    randomize(models)
    trainer = make_trainer(two_modes, models)
    x, t, memory = torch.zeros(1, 8, 2), torch.zeros(1), torch.zeros(1, 1, two_modes.width)
    found = [
        models["action_decoder"](x, t, trainer._with_latent(memory, z))
        for z in (torch.zeros(1, Z), torch.ones(1, Z))
    ]
    assert ((found[0] - found[1]).abs().amax(dim=(0, 2, 3)) > 1e-3).all()


def test_sampling_equals_the_chosen_row_of_all_experts(two_modes: Any) -> None:
    models = make_models(two_modes, StandardPrior(Z))
    randomize(models)
    gate = models["gate"] = ExpertGate(E, Z, two_modes.width, 64)
    nn.init.normal_(gate.output.weight)
    trainer = make_trainer(two_modes, models)
    memory, noise = torch.zeros(12, 1, two_modes.width), 20 * torch.randn(12, Z)
    x, t = torch.randn(12, 8, 2), torch.zeros(12)
    with torch.no_grad():
        logits = gate(memory, noise)
        gate.output.bias[0] -= (logits[:, 0] - logits[:, 1]).mean()  # so that both are chosen
        found = trainer.condition().field(memory, noise)(x, t)
        z = models["prior"].sample(memory, noise)  # type: ignore[operator]
        chosen = models["gate"](memory, z).argmax(-1)
        every = models["action_decoder"](x, t, trainer._with_latent(memory, z))
    assert len(chosen.unique()) == E
    assert torch.allclose(found, every[torch.arange(12), chosen], atol=1e-6)


def test_policy_has_noise_for_latent_and_chunk(two_modes: Any) -> None:
    policy = make_trainer(two_modes, num_inference_steps=2).policy(Normalizer({}))
    assert policy.noise_shape == (Z + 8 * 2,)
    noise = torch.randn(3, *policy.noise_shape)
    observation = {"observation.state": torch.zeros(3, 1, 1)}
    assert torch.equal(policy.act(observation, noise), policy.act(observation, noise))


def test_prior_reaches_the_encoders_only_if_asked_to(two_modes: Any) -> None:
    found = []
    for reaches in (False, True):
        models = make_models(two_modes)
        randomize(models)
        trainer = make_trainer(two_modes, models, beta=0.0, prior_trains_encoders=reaches)
        _, terms = trainer.compute_losses(two_modes.batch(16, 0), context())
        torch.autograd.backward(terms["prior"])  # type: ignore[arg-type]
        found.append(any(p.grad is not None for p in models["state_encoder"].parameters()))
        assert all(p.grad is None for p in models["posterior"].parameters())
    assert found == [False, True]


def test_best_expert_may_be_the_one_that_is_transported(two_modes: Any) -> None:
    costs = []
    for expert in ("mixture", "best"):
        models = make_models(two_modes)
        randomize(models)
        loss = SinkhornKnopp(group=8)
        trainer = make_trainer(two_modes, models, loss, transport_expert=expert)
        _, terms = trainer.compute_losses(two_modes.batch(16, 0), context())
        costs.append(terms["transport"].detach())  # type: ignore[union-attr]
    assert costs[0] != costs[1]


def single_expert(task: Any) -> dict[str, Any]:
    models = make_models(task)
    models["action_decoder"] = MLPActionDecoder(2, 8, 2, task.width)
    return {"models": models}


def without_gate(task: Any) -> dict[str, Any]:
    models = make_models(task)
    del models["gate"]
    return {"models": models}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            without_gate,
            (
                "models: needs a component 'gate' (memory and latent to logits over experts); it "
                "has state_encoder, info_embedder, posterior, prior, latent_embedder, "
                "action_decoder"
            ),
        ),
        (
            single_expert,
            (
                "models.action_decoder (MLPActionDecoder) has one expert; use "
                "mlp_expert_decoder or transformer_expert_decoder"
            ),
        ),
        (
            lambda _: {"loss": L2()},
            (
                "the `loss:` section of this trainer is its transport loss, not L2; "
                "use `loss: {_type_: sinkhorn_knopp}`, or none"
            ),
        ),
        (
            lambda _: {"options": StepOptions(grad_accum_steps=2)},
            (
                "the gate's use of the experts is known for a whole batch only: set "
                "trainer.load_balance_weight and trainer.gate_information_weight to 0, or "
                "trainer.grad_accum_steps to 1"
            ),
        ),
        (
            lambda _: {"loss": SinkhornKnopp(64), "options": StepOptions(global_batch=48)},
            (
                "loss.group is 64 and a micro-batch has 48 samples: the groups of the transport "
                "loss must divide it, as 48 does"
            ),
        ),
    ],
)
def test_unfit_parts_are_named(
    two_modes: Any, arguments: Callable[[Any], dict[str, Any]], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        make_trainer(two_modes, **arguments(two_modes))
    assert str(caught.value) == message
