"""A prior over latents that is a mixture of normal distributions.

Shapes: B batch, M memory tokens, D memory width, Z latent dimensions, C components.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from experiments_il.blocks.chunk_encoder import MemoryPool
from experiments_il.blocks.prior import PriorTerms
from experiments_il.latent import LOG_VARIANCE_RANGE, DiagonalGaussian, standard_kl
from policy_constructor.blocks.basic import MLP

if TYPE_CHECKING:
    from policy_constructor.ranges import Positive

__all__ = ["MixturePrior"]


class MixturePrior(nn.Module):
    """Mixture of normal distributions of the latent: each draw belongs to one component.

    It learns where modes lie from far fewer samples than a flow, and puts nothing between them; a
    flow fits distributions of any shape. The posterior is kept near N(0, I).

    Args:
        latent_dim: Dimensions Z of the latent.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Hidden layers.
        components: Components C.
    """

    def __init__(
        self,
        latent_dim: Positive = 16,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Positive = 2,
        components: Positive = 8,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.components = components
        self.noise_dim = latent_dim + 1
        self.pool = MemoryPool(memory_width)
        outputs = components * (2 * latent_dim + 1)
        self.mlp = MLP([memory_width, *[width] * layers, outputs], activation="silu")
        self.centers = nn.Parameter(torch.randn(components, latent_dim))

    def forward(
        self,
        memory: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        z: Tensor,
        t: Tensor,
        noise: Tensor,
    ) -> PriorTerms:
        """Return KL(q || N(0, I)) and the negative log likelihood of the latent, over Z.

        Args:
            memory: `(B, M, D)`.
            mean: Of the posterior, `(B, Z)`.
            log_variance: Of the posterior, `(B, Z)`.
            z: A sample of the posterior, `(B, Z)`.
            t: Not used.
            noise: Not used.
        """
        del t, noise
        weights, component = self._distribution(memory)
        away = z.detach().float().unsqueeze(1) - component.mean
        scaled = away.square() * torch.exp(-component.log_variance)
        density = -0.5 * (scaled + component.log_variance + math.log(2 * math.pi)).sum(dim=-1)
        likelihood = torch.logsumexp(weights + density, dim=-1)
        kl = standard_kl(DiagonalGaussian(mean, log_variance))
        return PriorTerms(kl, -likelihood / self.latent_dim)

    def sample(self, memory: Tensor, noise: Tensor) -> Tensor:
        """Return latents `(B, Z)`; `noise` is standard normal `(B, Z + 1)`.

        The first number decides about the component, through its distribution function.
        """
        weights, component = self._distribution(memory)
        level = 0.5 * (1 + torch.erf(noise[:, :1].float() / math.sqrt(2)))
        below = (weights.exp().cumsum(dim=-1) < level).sum(dim=-1)
        chosen = below.clamp(max=self.components - 1)
        rows = torch.arange(len(chosen), device=chosen.device)
        of_component = DiagonalGaussian(
            component.mean[rows, chosen], component.log_variance[rows, chosen]
        )
        return of_component.sample(noise[:, 1:]).to(memory.dtype)

    def _distribution(self, memory: Tensor) -> tuple[Tensor, DiagonalGaussian]:
        """Return the logarithms of the weights `(B, C)` and the components `(B, C, Z)`."""
        found = self.mlp(self.pool(memory)).float()
        shape = (-1, self.components, self.latent_dim)
        size = self.components * self.latent_dim
        mean = found[:, :size].reshape(shape) + self.centers.float()
        log_variance = found[:, size : 2 * size].reshape(shape).clamp(*LOG_VARIANCE_RANGE)
        return torch.log_softmax(found[:, 2 * size :], dim=-1), DiagonalGaussian(mean, log_variance)
