"""Priors over the latent of a variational policy: what is sampled when there is no chunk to encode.

All offer the same interface. `forward` returns the divergence of the posterior from the prior's
reference and the prior's own loss; `sample` turns normal noise into a latent.

Shapes: B batch, M memory tokens, D memory width, Z latent dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import MLPActionDecoder
from experiments_il.blocks.chunk_encoder import MemoryPool
from experiments_il.flow import integrate, interpolate, velocity_target
from experiments_il.latent import LOG_VARIANCE_RANGE, DiagonalGaussian, kl_divergence, standard_kl
from policy_constructor.blocks.basic import MLP

if TYPE_CHECKING:
    from policy_constructor.ranges import Count, Positive, Probability
    from trainer_core.ranks import Ranks

__all__ = ["DeterministicPrior", "FlowPrior", "GaussianPrior", "PriorTerms", "StandardPrior"]


class PriorTerms(NamedTuple):
    """What a prior contributes to the loss.

    Attributes:
        kl: Divergence of the posterior from the prior's reference, `(B, Z)`.
        fit: The prior's own loss `(B,)`; it sends no gradient to the posterior.
    """

    kl: Tensor
    fit: Tensor


class StandardPrior(nn.Module):
    """N(0, I) whatever is observed: the baseline, for experiments on what a learned prior brings.

    Args:
        latent_dim: Dimensions Z of the latent.
    """

    def __init__(self, latent_dim: Positive = 16) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(
        self,
        memory: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        z: Tensor,
        t: Tensor,
        noise: Tensor,
    ) -> PriorTerms:
        """Return KL(q || N(0, I)) and no loss of its own; arguments as in `FlowPrior`."""
        del memory, t, noise
        return PriorTerms(standard_kl(DiagonalGaussian(mean, log_variance)), _nothing(z))

    def sample(self, memory: Tensor, noise: Tensor) -> Tensor:
        """Return the noise `(B, Z)`."""
        del memory
        return noise


class GaussianPrior(nn.Module):
    """The normal distribution `p(z | observation)`, trained by the divergence itself.

    Args:
        latent_dim: Dimensions Z of the latent.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Hidden layers.
    """

    def __init__(
        self,
        latent_dim: Positive = 16,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Positive = 2,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.pool = MemoryPool(memory_width)
        self.mlp = MLP([memory_width, *[width] * layers, 2 * latent_dim], activation="silu")

    def distribution(self, memory: Tensor) -> DiagonalGaussian:
        """Return mean and log variance of the latent, `(B, Z)` each."""
        mean, log_variance = self.mlp(self.pool(memory)).chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def forward(
        self,
        memory: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        z: Tensor,
        t: Tensor,
        noise: Tensor,
    ) -> PriorTerms:
        """Return KL(q || p), which trains both; arguments as in `FlowPrior`."""
        del t, noise
        posterior = DiagonalGaussian(mean, log_variance)
        return PriorTerms(kl_divergence(posterior, self.distribution(memory)), _nothing(z))

    def sample(self, memory: Tensor, noise: Tensor) -> Tensor:
        """Return latents `(B, Z)`; `noise` is standard normal of this shape."""
        return self.distribution(memory).sample(noise)


class DeterministicPrior(nn.Module):
    """A regression of the latent on the observation: of several modes it predicts the mean.

    Args:
        latent_dim: Dimensions Z of the latent.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Hidden layers.
    """

    def __init__(
        self,
        latent_dim: Positive = 16,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Positive = 2,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.pool = MemoryPool(memory_width)
        self.mlp = MLP([memory_width, *[width] * layers, latent_dim], activation="silu")

    def forward(
        self,
        memory: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        z: Tensor,
        t: Tensor,
        noise: Tensor,
    ) -> PriorTerms:
        """Return KL(q || N(0, I)) and `|prior(s) - z|^2`; arguments as in `FlowPrior`."""
        del t
        fit = (self.sample(memory, noise) - z.detach()).square().mean(dim=-1)
        return PriorTerms(standard_kl(DiagonalGaussian(mean, log_variance)), fit)

    def sample(self, memory: Tensor, noise: Tensor) -> Tensor:
        """Return latents `(B, Z)`; the noise is not used."""
        del noise
        predicted: Tensor = self.mlp(self.pool(memory))
        return predicted


class FlowPrior(nn.Module):
    """Flow matching in the latent space, conditioned on the observation: holds several modes.

    The posterior is kept near N(0, I); the flow learns where it really puts the chunks of a state.
    Latents are standardised with an average over training of their mean and variance.

    Args:
        latent_dim: Dimensions Z of the latent.
        memory_width: Width D of a memory token.
        width: Hidden width.
        layers: Residual layers.
        steps: Euler steps of sampling; each costs one small MLP.
        momentum: Share of the new statistics in the averages.
        draws: Times and noises drawn for each latent in a step. More: the flow learns from fewer
            steps where two modes part; each costs one small MLP.
    """

    mean: Tensor
    variance: Tensor
    updates: Tensor

    def __init__(
        self,
        latent_dim: Positive = 16,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Count = 2,
        steps: Positive = 10,
        momentum: Probability = 0.01,
        draws: Positive = 8,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.steps = steps
        self.draws = draws
        self.momentum = momentum
        self.pool = MemoryPool(memory_width)
        self.field = MLPActionDecoder(latent_dim, 1, 1, memory_width, width, layers)
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("variance", torch.ones(latent_dim))
        self.register_buffer("updates", torch.zeros(()))
        self._pending: Tensor | None = None

    def forward(
        self,
        memory: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        z: Tensor,
        t: Tensor,
        noise: Tensor,
    ) -> PriorTerms:
        """Return KL(q || N(0, I)) and the velocity error of the flow.

        Args:
            memory: `(B, M, D)`.
            mean: Of the posterior, `(B, Z)`.
            log_variance: Of the posterior, `(B, Z)`.
            z: A sample of the posterior, `(B, Z)`.
            t: Flow times `(B,)`, or several for each sample, `(B, draws)`.
            noise: Standard normal `(B, Z)`, or `(B, draws, Z)`.
        """
        count, times = len(z), t.flatten()
        start = noise.reshape(len(times), 1, self.latent_dim)
        target = (z.detach() - self.mean) / self.variance.sqrt()
        target = target.repeat_interleave(len(times) // count, dim=0).unsqueeze(1)
        ((condition,),) = self.field.cache(self._condition(memory))
        cache = ((condition.repeat_interleave(len(times) // count, dim=0),),)
        velocity = self.field.step(interpolate(start, target, times), times, cache)
        fit = (velocity - velocity_target(start, target)).square().reshape(count, -1).mean(dim=1)
        if self.training:
            self._remember(z.detach().float())
        return PriorTerms(standard_kl(DiagonalGaussian(mean, log_variance)), fit)

    def sample(self, memory: Tensor, noise: Tensor) -> Tensor:
        """Return latents `(B, Z)`; `noise` is standard normal of this shape."""
        cache = self.field.cache(self._condition(memory))
        latents = integrate(
            lambda x, t: self.field.step(x, t, cache), noise.unsqueeze(1), steps=self.steps
        )
        sampled: Tensor = latents.squeeze(1) * self.variance.sqrt() + self.mean
        return sampled

    @torch.no_grad()
    def update(self, ranks: Ranks) -> None:
        """Move the averages towards the latents of the step that ended, of all processes."""
        if self._pending is None:
            return
        sums = ranks.sum(self._pending)
        count, (total, squares) = sums[0], sums[1:].reshape(2, self.latent_dim)
        self._pending = None
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=1e-4)
        self.updates += 1
        # The first steps count equally, so that the averages do not remember where they began.
        share = torch.maximum(1 / self.updates, self.updates.new_tensor(self.momentum))
        self.mean.lerp_(mean, share)
        self.variance.lerp_(variance, share)

    def _condition(self, memory: Tensor) -> Tensor:
        pooled: Tensor = self.pool(memory)
        return pooled.unsqueeze(1)

    def _remember(self, z: Tensor) -> None:
        """Add up a (micro-)batch; what a step adds up does not depend on how it was cut."""
        sums = torch.cat([z.new_tensor([len(z)]), z.sum(0), z.square().sum(0)])
        self._pending = sums if self._pending is None else self._pending + sums


def _nothing(z: Tensor) -> Tensor:
    return z.new_zeros(z.shape[0])
