"""Posteriors, priors, the gate, the latent's way into the memory."""

import pytest
import torch
from torch import Tensor, distributions, nn

from experiments_il.blocks.chunk_encoder import GaussianPosterior, MemoryPool, TokenPosterior
from experiments_il.blocks.gate import ExpertGate
from experiments_il.blocks.latent_embedder import LatentEmbedder
from experiments_il.blocks.prior import (
    DeterministicPrior,
    FlowPrior,
    GaussianPrior,
    PriorTerms,
    StandardPrior,
)
from experiments_il.latent import DiagonalGaussian, kl_divergence, standard_kl
from trainer_core.ranks import LocalRanks

B, M, D, Z, H, A = 6, 3, 8, 4, 5, 2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian(seed: int) -> DiagonalGaussian:
    return DiagonalGaussian(normal(B, Z, seed=seed), normal(B, Z, seed=seed + 1))


def torch_normal(q: DiagonalGaussian) -> distributions.Normal:
    return distributions.Normal(q.mean, torch.exp(0.5 * q.log_variance))


def test_divergence_equals_that_of_torch() -> None:
    q, p = gaussian(1), gaussian(5)
    expected = distributions.kl_divergence(torch_normal(q), torch_normal(p))
    assert torch.allclose(kl_divergence(q, p), expected, atol=1e-6, rtol=1e-5)
    unit = distributions.Normal(torch.zeros(B, Z), torch.ones(B, Z))
    assert torch.allclose(
        standard_kl(q), distributions.kl_divergence(torch_normal(q), unit), atol=1e-6
    )
    assert float(kl_divergence(q, q).abs().max()) == 0.0


def test_padded_actions_are_not_seen() -> None:
    posterior, mask = GaussianPosterior(A, H, Z, D, 16), torch.arange(H).expand(B, H) < 3
    action = normal(B, H, A)
    other = torch.where(mask.unsqueeze(-1), action, float("nan"))
    first, second = (posterior(normal(B, M, D), each, mask) for each in (action, other))
    assert torch.equal(first.mean, second.mean)


def test_chunk_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 5, 2\): horizon and action_dim of the p"):
        GaussianPosterior(A, H, Z, D, 16)(normal(B, M, D), normal(B, 4, A))


def test_log_variance_is_bounded() -> None:
    posterior = GaussianPosterior(A, H, Z, D, 16)
    found = posterior(normal(B, M, D), 1e4 * normal(B, H, A)).log_variance.detach()
    assert float(found.min()) >= -8
    assert float(found.max()) <= 4


def test_latent_tokens_have_their_shape() -> None:
    assert TokenPosterior(A, H, 3, Z, D, 16)(normal(B, M, D), normal(B, H, A)).shape == (B, 3, Z)


def test_pool_takes_any_number_of_tokens() -> None:
    pool = MemoryPool(D)
    assert pool(normal(B, 1, D)).shape == pool(normal(B, 7, D)).shape == (B, D)


PRIORS = [
    StandardPrior(Z),
    GaussianPrior(Z, D, 16),
    DeterministicPrior(Z, D, 16),
    FlowPrior(Z, D, 16, steps=3),
]


def terms(prior: nn.Module, q: DiagonalGaussian, z: Tensor) -> PriorTerms:
    found = prior(normal(B, M, D), *q, z, torch.linspace(0, 0.9, B), normal(B, Z, seed=9))
    assert isinstance(found, PriorTerms)
    return found


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_priors_give_terms_and_samples(prior: nn.Module) -> None:
    q = gaussian(1)
    found = terms(prior, q, q.sample(normal(B, Z)))
    assert (found.kl.shape, found.fit.shape) == ((B, Z), (B,))
    assert prior.sample(normal(B, M, D), normal(B, Z)).shape == (B, Z)  # type: ignore[operator]


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_own_loss_of_a_prior_leaves_the_posterior_alone(prior: nn.Module) -> None:
    mean, log_variance = (each.clone().requires_grad_() for each in gaussian(1))
    q = DiagonalGaussian(mean, log_variance)
    fit = terms(prior, q, q.sample(normal(B, Z))).fit
    if fit.requires_grad:
        torch.autograd.backward(fit.sum())
    assert mean.grad is None
    assert log_variance.grad is None


def test_gaussian_prior_that_fits_diverges_by_nothing() -> None:
    prior = GaussianPrior(Z, D, 16)
    q = prior.distribution(normal(B, M, D))
    assert float(terms(prior, q, q.mean).kl.detach().abs().max()) == pytest.approx(0, abs=1e-6)


def test_flow_prior_learns_two_latents() -> None:
    torch.manual_seed(0)
    prior = FlowPrior(1, D, 64, steps=10)
    optimizer = torch.optim.Adam(prior.parameters(), 3e-3)
    memory = torch.zeros(256, 1, D)
    for _ in range(400):
        z = torch.where(torch.rand(256, 1) < 0.5, 3.0, -1.0) + 0.05 * torch.randn(256, 1)
        moments = torch.zeros(256, 1), torch.zeros(256, 1)
        loss = prior(memory, *moments, z, torch.rand(256), torch.randn(256, 1)).fit.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        prior.update(LocalRanks())
    samples = prior.eval().sample(torch.zeros(1000, 1, D), torch.randn(1000, 1)).detach()
    assert float(((samples - 3).abs() < 0.5).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(((samples + 1).abs() < 0.5).float().mean()) == pytest.approx(0.5, abs=0.1)


def test_statistics_do_not_depend_on_micro_batches() -> None:
    found = []
    for parts in (1, 2):
        torch.manual_seed(0)
        prior = FlowPrior(Z, D, 16)
        for part in range(parts):
            rows = slice(part * B // parts, (part + 1) * B // parts)
            q = DiagonalGaussian(*(each[rows] for each in gaussian(1)))
            size = len(q.mean)
            prior(normal(size, M, D), *q, q.mean, torch.zeros(size), normal(size, Z))
        prior.update(LocalRanks())
        found.append(torch.cat([prior.mean, prior.variance]))
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_statistics_stay_while_validating() -> None:
    prior = FlowPrior(Z, D, 16).eval()
    terms(prior, gaussian(1), gaussian(1).mean)
    prior.update(LocalRanks())
    assert float(prior.updates) == 0


def test_gate_is_uniform_at_the_start() -> None:
    logits = ExpertGate(3, Z, D, 16)(normal(B, M, D), normal(B, Z))
    assert torch.equal(logits, torch.zeros(B, 3))


def test_temperature_divides_the_logits() -> None:
    torch.manual_seed(0)
    gate, warm = ExpertGate(3, Z, D, 16), ExpertGate(3, Z, D, 16, temperature=4.0)
    nn.init.normal_(gate.output.weight)
    warm.load_state_dict(gate.state_dict())
    inputs = normal(B, M, D), normal(B, Z)
    assert torch.allclose(gate(*inputs), 4 * warm(*inputs))


def test_hidden_latents_become_the_null_tokens() -> None:
    embedder, keep = LatentEmbedder(Z, D, 2, null=True), torch.arange(B) % 2 == 0
    latent = normal(B, 2, Z).requires_grad_()
    tokens = embedder(latent, keep)
    assert torch.equal(tokens[~keep], embedder.hidden(3))
    tokens[~keep].sum().backward()
    assert latent.grad is not None
    assert float(latent.grad.abs().sum()) == 0


def test_latent_without_null_tokens_cannot_be_hidden() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        LatentEmbedder(Z, D)(normal(B, Z), torch.zeros(B, dtype=torch.bool))
    assert str(caught.value) == (
        "the latent embedder has no tokens for a hidden latent; set null: true"
    )
