"""Embeddings of flow time and of positions.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from policy_constructor.blocks.checks import check_divides, check_positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["LearnedPositions", "SinusoidalPositions", "SinusoidalTimeEmbedding"]


class SinusoidalTimeEmbedding(nn.Module):
    """Sines and cosines of the flow time t in [0, 1], with periods that resolve it.

    `w_j = 2 pi / p_j`, `p_j = min_period * (max_period / min_period)^(j / (dim/2 - 1))`,
    `phi(t) = [sin(w t), cos(w t)]`. Every channel spans at least 0.9 over [0, 1]; the table of
    the original transformer (frequencies 1 to 1e-4) leaves most channels constant there. The
    result is float32 whatever the autocast or the dtype of the module. Usually followed by an
    `mlp` with dims `[dim, 2 dim, dim]` and `silu`.

    Args:
        dim: Width of the embedding, even and at least 4.
        min_period: Shortest period; shorter resolves finer steps of t.
        max_period: Longest period; above about 4 the slowest channels hardly move.

    Raises:
        ValueError: An odd or too small `dim`, or periods that are not 0 < min < max.

    Source: openpi's `create_sinusoidal_pos_embedding` (periods 4e-3 to 4).
    """

    angular_frequency: Tensor

    def __init__(self, dim: int, min_period: float = 4e-3, max_period: float = 4.0) -> None:
        super().__init__()
        check_positive(dim=dim)
        check_divides("the pair of sine and cosine", 2, "dim", dim)
        if dim < 4:
            msg = f"dim must be at least 4, got {dim}"
            raise ValueError(msg)
        if not 0.0 < min_period < max_period:
            msg = f"periods must be 0 < min_period < max_period, got {min_period}, {max_period}"
            raise ValueError(msg)
        self.dim = dim
        self.min_period = min_period
        self.max_period = max_period
        self.register_buffer("angular_frequency", self._frequencies(), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Map times `(...)` to embeddings `(..., dim)`, float32."""
        angle = t.to(torch.float32).unsqueeze(-1) * self.angular_frequency
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def extra_repr(self) -> str:
        """Return the arguments for `print(module)`."""
        return f"dim={self.dim}, min_period={self.min_period}, max_period={self.max_period}"

    def _frequencies(self) -> Tensor:
        exponent = torch.linspace(0.0, 1.0, self.dim // 2, dtype=torch.float64)
        period = self.min_period * (self.max_period / self.min_period) ** exponent
        return (2.0 * math.pi / period).to(torch.float32)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> SinusoidalTimeEmbedding:
        """Move as every module does, but keep the frequencies in float32."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call] # torch does not type it
        if self.angular_frequency.dtype != torch.float32:
            self.angular_frequency = self._frequencies().to(self.angular_frequency.device)
        return self


class SinusoidalPositions(nn.Module):
    """Add fixed sines and cosines of the position to each token.

    Input and output `(B, T, dim)`, any T; computed in float32, returned in the input's dtype.

    Args:
        dim: Width of a token, even.
        max_period: Longest period in tokens; 10000 as in the paper.

    Raises:
        ValueError: An odd `dim` or a `max_period` that is not above 1.

    Source: Vaswani et al., Attention Is All You Need, arXiv:1706.03762, section 3.5.
    """

    def __init__(self, dim: int, max_period: float = 10_000.0) -> None:
        super().__init__()
        check_positive(dim=dim)
        check_divides("the pair of sine and cosine", 2, "dim", dim)
        if max_period <= 1.0:
            msg = f"max_period must be above 1, got {max_period}"
            raise ValueError(msg)
        self.dim = dim
        self.max_period = max_period

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(B, T, dim)` to tokens with positions `(B, T, dim)`."""
        position = torch.arange(x.shape[-2], dtype=torch.float32, device=x.device)
        exponent = torch.arange(0, self.dim, 2, dtype=torch.float32, device=x.device) / self.dim
        angle = position[:, None] * torch.exp(-math.log(self.max_period) * exponent)
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
        return x + table.to(x.dtype)


class LearnedPositions(nn.Module):
    """Add a learned vector per position to each token.

    Input and output `(B, T, dim)` with T up to `num_positions`.

    Args:
        num_positions: Longest sequence.
        dim: Width of a token.
        std: Standard deviation of the initial vectors; larger separates positions from the start.

    Raises:
        ValueError: A size below 1, a negative `std`; in forward a sequence that is too long.
    """

    def __init__(self, num_positions: int, dim: int, std: float = 0.02) -> None:
        super().__init__()
        check_positive(num_positions=num_positions, dim=dim)
        if std < 0.0:
            msg = f"std must not be negative, got {std}"
            raise ValueError(msg)
        self.weight = nn.Parameter(torch.randn(num_positions, dim) * std)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(B, T, dim)` to tokens with positions `(B, T, dim)`."""
        length, available = x.shape[-2], self.weight.shape[0]
        if length > available:
            msg = f"{length} tokens, but learned_positions has num_positions={available}"
            raise ValueError(msg)
        return x + self.weight[:length]

    def extra_repr(self) -> str:
        """Return the sizes for `print(module)`."""
        return f"num_positions={self.weight.shape[0]}, dim={self.weight.shape[1]}"
