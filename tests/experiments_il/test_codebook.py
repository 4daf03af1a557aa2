"""The codebook: its gradient, its beginning, and what keeps its codes in use."""

import pytest
import torch
from torch import Tensor

from experiments_il.blocks.codebook import NSVQCodebook, spread_points


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(codes: int = 8, dim: int = 4) -> NSVQCodebook:
    torch.manual_seed(0)
    return NSVQCodebook(codes, dim)


def perplexity(codes: Tensor, size: int) -> float:
    share = torch.bincount(codes.flatten(), minlength=size) / codes.numel()
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


def test_noise_has_the_length_of_the_error() -> None:
    book, latents = make(), torch.randn(16, 2, 4, generator=generator())
    found = book(latents, torch.randn(16, 2, 4, generator=generator(1)))
    error = (latents - found.nearest).norm(dim=-1)
    assert torch.allclose((found.latents - latents).norm(dim=-1), error, atol=1e-6)


def test_noise_has_no_preferred_direction() -> None:
    book, latent = make(), torch.full((1, 1, 4), 0.4)
    draws = 100_000
    noise = torch.randn(draws, 1, 4, generator=generator())
    found = book(latent.expand(draws, 1, 4), noise).latents
    error = 4 * found.std(dim=0) / draws**0.5
    assert ((found.mean(dim=0) - latent[0]).abs() < error).all()


def test_gradients_equal_finite_differences() -> None:
    book = make().double()
    latents = torch.randn(3, 2, 4, dtype=torch.float64, generator=generator()).requires_grad_()
    noise = torch.randn(3, 2, 4, dtype=torch.float64, generator=generator(1))

    def quantise(h: Tensor, codes: Tensor) -> Tensor:
        with torch.no_grad():
            book.codes.copy_(codes)
        return torch.func.functional_call(book, {"codes": codes}, (h, noise)).latents  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(
        quantise, (latents, book.codes.detach().clone().requires_grad_())
    )


def test_latent_on_a_code_has_finite_gradients() -> None:
    book = make()
    latents = book.codes.detach()[:2].clone().unsqueeze(0).requires_grad_()
    book(latents, torch.randn(1, 2, 4)).latents.sum().backward()
    assert latents.grad is not None
    assert torch.isfinite(latents.grad).all()
    assert torch.isfinite(book.codes.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("autocast", [False, True])
def test_nearest_code_is_that_of_brute_force(autocast: bool) -> None:
    book, latents = make(16, 8), torch.randn(10_000, 8, generator=generator())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = book.assign(latents)
    distances = (latents.double()[:, None] - book.codes.detach().double()).square().sum(-1)
    assert torch.equal(found, distances.argmin(-1))


def test_codes_begin_spread_over_the_data() -> None:
    book = make(8, 4)
    latents = torch.randn(100, 4, generator=generator()) + 10
    book.collect(latents, generator(1))
    assert not book.wants_latents
    assert perplexity(book.assign(latents), 8) >= 4
    with torch.no_grad():
        book.codes.zero_()
    assert perplexity(book.assign(latents), 8) == pytest.approx(1.0)  # what zeros would do


def test_small_batches_are_collected_first() -> None:
    book = make(2, 4)
    for count in (8, 8, 3):
        assert book.wants_latents
        book.collect(torch.randn(count, 4, generator=generator(count)), generator(1))
    book.collect(torch.randn(8, 4), generator(1))
    assert not book.wants_latents
    assert int(book.collected) == 20


def test_fewer_points_than_codes_are_drawn_twice() -> None:
    codes = spread_points(torch.eye(2), 5, generator())
    assert codes.shape == (5, 2)
    assert len(torch.unique(codes, dim=0)) == 5


def test_exactly_the_dead_codes_are_replaced() -> None:
    book = make(4, 3)
    before = book.codes.detach().clone()
    usage = torch.tensor([100.0, 0.0, 50.0, 0.3])
    dead = book.replace_dead(usage, generator(), fraction=0.01)
    assert dead.tolist() == [False, True, False, True]
    changed = (book.codes != before).any(dim=1)
    assert torch.equal(changed, dead)
    distance = torch.cdist(book.codes[dead], before[~dead]).min(dim=1).values
    assert (distance < 0.1).all()


def test_equal_generators_replace_equally() -> None:
    books = [make(6, 3), make(6, 3)]
    usage = torch.tensor([9.0, 0, 0, 4, 0, 1])
    for book in books:
        book.replace_dead(usage, generator(5))
    assert torch.equal(books[0].codes, books[1].codes)


def test_unused_codebook_is_left_alone() -> None:
    book = make(4, 3)
    before = book.codes.detach().clone()
    assert not book.replace_dead(torch.zeros(4), generator()).any()
    assert torch.equal(book.codes, before)


def test_use_is_counted() -> None:
    assert make(3, 2).count(torch.tensor([[0, 2], [2, 2]])).tolist() == [1, 0, 3]
