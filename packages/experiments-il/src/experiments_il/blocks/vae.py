"""Variational autoencoders of what a robot sees and does: small codes to measure distances in.

All offer the same interface: `forward(x, noise, mask)` returns the reconstruction error and the
posterior of each sample, `embed(x, mask)` the posterior's mean.

Shapes: B batch, T rows (frames or actions), X dimensions of a row, Z latent dimensions.

Source: Higgins et al., "beta-VAE", ICLR 2017.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from experiments_il.latent import LOG_VARIANCE_RANGE, DiagonalGaussian
from policy_constructor.blocks.basic import MLP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.ranges import Positive

__all__ = ["ActionVAE", "AutoencoderTerms", "ImageVAE", "StateVAE"]


class AutoencoderTerms(NamedTuple):
    """What an autoencoder contributes to the loss.

    Attributes:
        error: Sum of squared reconstruction errors of each sample, `(B,)`.
        posterior: Distribution of the latent, `(B, Z)`.
    """

    error: Tensor
    posterior: DiagonalGaussian


class _SequenceVAE(nn.Module):
    """MLPs to and from the latent of a flattened sequence; masked rows do not count."""

    def __init__(self, rows: int, dim: int, latent_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.rows = rows
        self.dim = dim
        self.latent_dim = latent_dim
        size = rows * dim
        self.encoder = MLP([size, *hidden, 2 * latent_dim], activation="silu")
        self.decoder = MLP([latent_dim, *reversed(hidden), size], activation="silu")

    def posterior(self, x: Tensor, mask: Tensor | None = None) -> DiagonalGaussian:
        """Return the distribution of the latent.

        Args:
            x: `(B, T, X)`, or `(B, X)` for one row.
            mask: `(B, T)` bool, True where real; None: all real.

        Raises:
            ValueError: The sequence has another shape than the block was built for.
        """
        mean, log_variance = self.encoder(self._rows(x, mask).flatten(1)).chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def forward(self, x: Tensor, noise: Tensor, mask: Tensor | None = None) -> AutoencoderTerms:
        """Return error and posterior; `noise` is standard normal `(B, Z)`, the rest as above."""
        seen, posterior = self._rows(x, mask), self.posterior(x, mask)
        rebuilt = self.decoder(posterior.sample(noise)).reshape(seen.shape)
        error = (rebuilt - seen).float().square().sum(dim=-1)
        if mask is not None:
            error = torch.where(mask, error, 0)
        return AutoencoderTerms(error.sum(dim=1), posterior)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean of the latent, `(B, Z)`."""
        return self.posterior(x, mask).mean

    def _rows(self, x: Tensor, mask: Tensor | None) -> Tensor:
        rows = x.unsqueeze(1) if x.ndim == 2 else x
        if rows.shape[1:] != (self.rows, self.dim):
            message = (
                f"got a sequence of shape {tuple(x.shape)}, the autoencoder was built for (B, "
                f"{self.rows}, {self.dim})"
            )
            raise ValueError(message)
        return rows if mask is None else torch.where(mask.unsqueeze(-1), rows, 0)


class StateVAE(_SequenceVAE):
    """Autoencoder of a history of state vectors.

    Args:
        state_dim: Dimensions of a state.
        n_obs_steps: Frames of the history.
        latent_dim: Dimensions Z of the latent; 12 for simulators, 24 for real robots.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
    """

    def __init__(
        self,
        state_dim: Positive,
        n_obs_steps: Positive = 1,
        latent_dim: Positive = 12,
        hidden: Sequence[int] = (512, 512),
    ) -> None:
        super().__init__(n_obs_steps, state_dim, latent_dim, hidden)


class ActionVAE(_SequenceVAE):
    """Autoencoder of action chunks; padded actions are masked.

    Args:
        action_dim: Dimensions of an action.
        horizon: Chunk length.
        latent_dim: Dimensions Z of the latent; 6 for simulators, 16 for real robots.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
    """

    def __init__(
        self,
        action_dim: Positive,
        horizon: Positive,
        latent_dim: Positive = 6,
        hidden: Sequence[int] = (512, 512),
    ) -> None:
        super().__init__(horizon, action_dim, latent_dim, hidden)


class ImageVAE(nn.Module):
    """Convolutional autoencoder of one square image.

    Args:
        size: Height and width of the image, a multiple of 2 to the number of stages.
        latent_dim: Dimensions Z of the latent.
        channels: Channels of the stages, each of which halves the image.
        in_channels: Channels of the image.
        resize: Resize images of another height and width; false: refuse them.

    Raises:
        ValueError: The size cannot be halved that often.
    """

    def __init__(
        self,
        size: Positive,
        latent_dim: Positive = 16,
        channels: Sequence[int] = (32, 64, 128),
        in_channels: Positive = 3,
        resize: bool = False,
    ) -> None:
        super().__init__()
        if size % 2 ** len(channels):
            message = (
                f"size {size} is no multiple of {2 ** len(channels)} (stages: {len(channels)})"
            )
            raise ValueError(message)
        self.latent_dim = latent_dim
        self.shape = (in_channels, size, size)
        self.resize = resize
        self.inner = (channels[-1], size // 2 ** len(channels), size // 2 ** len(channels))
        features = channels[-1] * self.inner[1] ** 2
        widths = [in_channels, *channels]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for before, after in pairwise(widths):
            down += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
            up = [nn.SiLU(), nn.ConvTranspose2d(after, before, 4, stride=2, padding=1), *up]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, 2 * latent_dim))
        self.expand = nn.Linear(latent_dim, features)
        self.decoder = nn.Sequential(*up)

    def posterior(self, x: Tensor, mask: Tensor | None = None) -> DiagonalGaussian:
        """Return the distribution of the latent.

        Args:
            x: `(B, C, size, size)` or `(B, 1, C, size, size)`; uint8, or floating point as it is.
            mask: Not used.

        Raises:
            ValueError: The image has another shape than the block was built for.
        """
        del mask
        mean, log_variance = self.encoder(self._pixels(x)).chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def forward(self, x: Tensor, noise: Tensor, mask: Tensor | None = None) -> AutoencoderTerms:
        """Return error and posterior; `noise` is standard normal `(B, Z)`."""
        posterior = self.posterior(x, mask)
        inner = self.expand(posterior.sample(noise)).reshape(-1, *self.inner)
        error = (self.decoder(inner) - self._pixels(x)).float().square()
        return AutoencoderTerms(error.sum(dim=(1, 2, 3)), posterior)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean of the latent, `(B, Z)`."""
        return self.posterior(x, mask).mean

    def _pixels(self, x: Tensor) -> Tensor:
        image = x.squeeze(1) if x.ndim == 5 else x
        if image.shape[1:] != self.shape and not (self.resize and image.ndim == 4):
            message = (
                f"image has shape {tuple(x.shape)}, the autoencoder was built for {self.shape}"
            )
            raise ValueError(message)
        dtype = self.expand.weight.dtype
        pixels = image.to(dtype) if image.is_floating_point() else image.to(dtype) / 127.5 - 1
        if image.shape[1:] == self.shape:
            return pixels
        return nn.functional.interpolate(pixels, self.shape[1:], mode="bilinear", antialias=True)
