"""Vector quantisation by noise substitution, and a codebook that stays alive.

Shapes: B batch, K latent tokens, Z dimensions, C codes.

Source: Vali and Baeckstroem, "NSVQ: Noise Substitution in Vector Quantization for Machine
Learning", IEEE Access 2022; k-means++ by Arthur and Vassilvitskii, 2007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from policy_constructor.ranges import Positive

__all__ = ["NSVQCodebook", "Quantized", "spread_points"]

_COLLECTED_PER_CODE = 10


class Quantized(NamedTuple):
    """What a codebook makes of latents.

    Attributes:
        latents: `(B, K, Z)`, differentiable with respect to the latents and the codes.
        codes: Number of the nearest code, int64 `(B, K)`.
        nearest: That code, `(B, K, Z)`.
    """

    latents: Tensor
    codes: Tensor
    nearest: Tensor


class NSVQCodebook(nn.Module):
    """Replaces the quantisation error by noise of the same length, so that gradients pass.

    `h + |h - e| n / |n|`: no straight-through estimator, no loss of the codebook's own. The codes
    begin as spread-out latents of the first batches, never as zeros.

    Args:
        codes: Codes C.
        latent_dim: Dimensions Z of a latent.
    """

    codes: nn.Parameter
    usage: Tensor
    collection: Tensor
    collected: Tensor

    def __init__(self, codes: Positive = 8, latent_dim: Positive = 64) -> None:
        super().__init__()
        self.size = codes
        self.latent_dim = latent_dim
        self.codes = nn.Parameter(torch.randn(codes, latent_dim))
        wanted = _COLLECTED_PER_CODE * codes
        self.register_buffer("usage", torch.zeros(codes))
        self.register_buffer("collection", torch.zeros(wanted, latent_dim))
        self.register_buffer("collected", torch.zeros((), dtype=torch.int64))

    def forward(self, latents: Tensor, noise: Tensor) -> Quantized:
        """Return the latents with their quantisation error replaced by noise.

        Args:
            latents: `(B, K, Z)`.
            noise: Standard normal, same shape.
        """
        codes = self.assign(latents)
        nearest = self.codes[codes]
        length = torch.linalg.vector_norm(latents - nearest, dim=-1, keepdim=True)
        direction = noise / (torch.linalg.vector_norm(noise, dim=-1, keepdim=True) + 1e-8)
        return Quantized(latents + length * direction, codes, nearest)

    @torch.no_grad()
    def assign(self, latents: Tensor) -> Tensor:
        """Return the number of the nearest code, int64 `(...)`, of latents `(..., Z)`.

        Computed in float32 at least, whatever the autocast.
        """
        points, codes = latents.flatten(0, -2), self.codes.detach()
        if points.dtype != torch.float64:
            points, codes = points.float(), codes.float()
        distances = torch.cdist(points, codes, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.argmin(dim=-1).reshape(latents.shape[:-1])

    @torch.no_grad()
    def count(self, codes: Tensor) -> Tensor:
        """Return how often each code is used, float32 `(C,)`, in codes, int64 `(B, K)`."""
        return torch.nn.functional.one_hot(codes.flatten(), self.size).sum(0).float()

    @property
    def wants_latents(self) -> bool:
        """Whether the codes still begin anew with the latents that `collect` gets."""
        return int(self.collected) < len(self.collection)

    @torch.no_grad()
    def collect(self, latents: Tensor, generator: torch.Generator) -> None:
        """Begin with codes spread over all latents collected so far.

        Args:
            latents: `(n, Z)`, of the whole global batch; what is more than wanted is left out.
            generator: On the CPU, the same on all ranks.
        """
        begin = int(self.collected)
        taken = latents[: len(self.collection) - begin].to(self.collection)
        self.collection[begin : begin + len(taken)] = taken
        self.collected += len(taken)
        known = self.collection[: int(self.collected)]
        self.codes.copy_(spread_points(known, self.size, generator))

    @torch.no_grad()
    def replace_dead(
        self, usage: Tensor, generator: torch.Generator, *, fraction: float = 0.01
    ) -> Tensor:
        """Replace codes used less than `fraction` of the mean; return which, bool `(C,)`.

        Each gets a code in use, drawn in proportion to its use, plus noise of 0.01 of the spread of
        the codes in use.

        Args:
            usage: Counts `(C,)` of all ranks.
            generator: On the CPU, the same on all ranks.
            fraction: Share of the mean use below which a code is dead.
        """
        counts = usage.cpu().double()
        dead = counts < fraction * counts.mean()
        count = int(dead.sum())
        if count in {0, self.size}:
            return torch.zeros_like(dead)
        weights = torch.where(dead, 0.0, counts)
        parents = torch.multinomial(weights, count, replacement=True, generator=generator)
        spread = self.codes[~dead.to(self.codes.device)].std(dim=0, correction=0)
        noise = torch.randn(count, self.latent_dim, generator=generator).to(self.codes)
        self.codes[dead.to(self.codes.device)] = (
            self.codes[parents.to(self.codes.device)] + 0.01 * spread * noise
        )
        return dead


def spread_points(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` of the points `(n, Z)`, far from one another (k-means++).

    Where there are fewer different points than wanted, some are drawn twice, with a little noise.
    """
    known = points.cpu().double()
    chosen = [int(torch.randint(len(known), (), generator=generator))]
    for _ in range(1, count):
        nearest = torch.cdist(known, known[chosen]).square().min(dim=1).values
        weights = nearest if float(nearest.sum()) > 0 else torch.ones_like(nearest)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    codes = known[chosen]
    if len(set(chosen)) < count:
        scale = 0.01 * known.std(dim=0, correction=0).clamp(min=1e-3)
        codes = codes + scale * torch.randn(codes.shape, generator=generator, dtype=codes.dtype)
    return codes.to(points)
