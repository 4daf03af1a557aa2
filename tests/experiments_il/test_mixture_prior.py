"""The mixture prior: its likelihood, its draws, and two modes with nothing between them."""

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.mixture_prior import MixturePrior
from experiments_il.blocks.prior import FlowPrior

Z, WIDTH = 2, 8


def terms(prior: MixturePrior, memory: Tensor, z: Tensor) -> Tensor:
    nothing = torch.zeros_like(z)
    fit: Tensor = prior(memory, nothing, nothing, z, nothing[:, 0], nothing).fit
    return fit


def test_likelihood_is_that_of_torch() -> None:
    torch.manual_seed(0)
    prior, memory, z = MixturePrior(Z, WIDTH, 16), torch.randn(5, 2, WIDTH), torch.randn(5, Z)
    weights, component = prior._distribution(memory)
    normal = torch.distributions.Normal(component.mean, torch.exp(0.5 * component.log_variance))
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=weights),
        torch.distributions.Independent(normal, 1),
    )
    expected = -mixture.log_prob(z) / Z  # type: ignore[no-untyped-call] # torch leaves it untyped
    assert torch.allclose(terms(prior, memory, z), expected, atol=1e-6)


def test_draws_follow_the_weights() -> None:
    prior = MixturePrior(Z, WIDTH, 16, components=3)
    last = prior.mlp.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        last.bias[-3:] = torch.log(torch.tensor([0.5, 0.2, 0.3]))
        last.bias[3 * Z : 6 * Z] = -8.0
        prior.centers.copy_(torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]]))
    noise = torch.randn(20_000, Z + 1, generator=torch.Generator().manual_seed(0))
    drawn = prior.sample(torch.zeros(20_000, 1, WIDTH), noise).detach()
    chosen = torch.cdist(drawn, prior.centers.detach()).argmin(dim=1)
    share = torch.bincount(chosen, minlength=3) / 20_000
    assert share.tolist() == pytest.approx([0.5, 0.2, 0.3], abs=0.015)
    assert float(torch.cdist(drawn, prior.centers.detach()).amin(dim=1).max()) < 0.2


def test_two_modes_are_learned_with_nothing_between() -> None:
    torch.manual_seed(0)
    prior, memory = MixturePrior(Z, WIDTH, 32), torch.zeros(128, 1, WIDTH)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for _ in range(150):
        side = torch.randint(2, (128, 1)) * 2.0 - 1
        z = side + 0.1 * torch.randn(128, Z)
        optimizer.zero_grad()
        torch.autograd.backward(terms(prior, memory, z).mean())
        optimizer.step()
    drawn = prior.sample(torch.zeros(1000, 1, WIDTH), torch.randn(1000, Z + 1)).detach()
    assert float((drawn.abs() < 0.5).any(dim=1).float().mean()) < 0.02
    assert 0.4 < float((drawn[:, 0] > 0).float().mean()) < 0.6


def test_posterior_gets_no_gradient_of_the_likelihood() -> None:
    z = torch.randn(4, Z, requires_grad=True)
    fit = terms(MixturePrior(Z, WIDTH, 16), torch.zeros(4, 1, WIDTH), z)
    torch.autograd.backward(fit.mean())
    assert z.grad is None


def test_several_draws_of_a_flow_prior_are_averaged() -> None:
    torch.manual_seed(0)
    prior = FlowPrior(Z, WIDTH, 16).eval()
    torch.nn.init.normal_(prior.field.output.weight)
    memory, z = torch.randn(4, 1, WIDTH), torch.randn(4, Z)
    t, noise = torch.rand(4, 3), torch.randn(4, 3, Z)
    together = prior(memory, z, z, z, t, noise).fit
    each = [prior(memory, z, z, z, t[:, k], noise[:, k]).fit for k in range(3)]
    assert torch.allclose(together, torch.stack(each).mean(dim=0), atol=1e-6)
