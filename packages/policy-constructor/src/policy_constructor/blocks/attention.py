"""Attention over tokens and over a memory, and the adaptive norm that conditions a block.

Shapes: B batch, T tokens, M memory tokens, D width (`d_model`), N heads, C width of a condition.
Masks follow torch: in a padding mask True marks a token that must not be attended to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from policy_constructor.blocks.checks import check_divides, check_fraction, check_positive

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AdaptiveLayerNorm", "CrossAttention", "LayerCache", "MemoryCache", "SelfAttention"]

LayerCache: TypeAlias = "tuple[Tensor, ...]"
MemoryCache: TypeAlias = "tuple[LayerCache, ...]"


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to one another.

    Args:
        d_model: Width of a token; a multiple of `nhead`.
        nhead: Heads.
        dropout: Probability of dropping an attention weight while training.
        causal: Whether a token sees only itself and earlier ones.

    Raises:
        ValueError: A size below 1, `d_model` no multiple of `nhead`, dropout outside [0, 1).
    """

    def __init__(
        self, d_model: int, nhead: int, dropout: float = 0.0, causal: bool = False
    ) -> None:
        super().__init__()
        _check_heads(d_model, nhead, dropout)
        self.nhead = nhead
        self.dropout = dropout
        self.causal = causal
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Map `(B, T, D)` to `(B, T, D)`.

        Args:
            x: Tokens.
            key_padding_mask: `(B, T)`, bool, True where a token is padding.
        """
        query, key, value = (_split_heads(part, self.nhead) for part in self.qkv(x).chunk(3, -1))
        mask = None if key_padding_mask is None else ~key_padding_mask[:, None, None, :]
        causal = self.causal
        if mask is not None and causal:
            length = x.shape[1]
            mask = mask & torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
            causal = False
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        out: Tensor = self.out(_join_heads(attended))
        return out


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to a memory whose keys and values can be kept.

    Args:
        d_model: Width of a token; a multiple of `nhead`.
        nhead: Heads.
        memory_dim: Width of a memory token; by default `d_model`.
        dropout: Probability of dropping an attention weight while training.

    Raises:
        ValueError: A size below 1, `d_model` no multiple of `nhead`, dropout outside [0, 1).
    """

    def __init__(
        self, d_model: int, nhead: int, memory_dim: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        _check_heads(d_model, nhead, dropout)
        check_positive(memory_dim=memory_dim)
        self.nhead = nhead
        self.dropout = dropout
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(memory_dim or d_model, 2 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def cache(self, memory: Tensor, memory_mask: Tensor | None = None) -> LayerCache:
        """Return keys and values `(B, N, M, D / N)` of a memory `(B, M, memory_dim)`.

        With a `memory_mask` (`(B, M)`, bool, True where a token is padding) the mask for the
        attention, `(B, 1, 1, M)`, follows as a third tensor, so that it cannot be forgotten.
        """
        key, value = (
            _split_heads(part, self.nhead) for part in self.key_value(memory).chunk(2, -1)
        )
        if memory_mask is None:
            return (key, value)
        return (key, value, ~memory_mask[:, None, None, :])

    def forward(self, x: Tensor, cache: LayerCache) -> Tensor:
        """Map tokens `(B, T, D)` and what `cache` returned to `(B, T, D)`."""
        attended = F.scaled_dot_product_attention(
            _split_heads(self.query(x), self.nhead),
            cache[0],
            cache[1],
            attn_mask=cache[2] if len(cache) > 2 else None,
            dropout_p=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.out(_join_heads(attended))
        return out


class AdaptiveLayerNorm(nn.Module):
    """A layer norm whose scale, shift and gate come from a condition (adaLN-Zero).

    `gate * f((1 + scale) * norm(x) + shift)`; the three are a linear map of `silu(cond)` that
    starts at zero, so that a block starts as the identity. Without `cond_dim` it is an ordinary
    layer norm and the gate is None.

    Args:
        d_model: Width of a token.
        cond_dim: Width of the condition; None for no condition.

    Source: Peebles and Xie, Scalable Diffusion Models with Transformers, arXiv:2212.09748, 3.2.
    """

    def __init__(self, d_model: int, cond_dim: int | None = None) -> None:
        super().__init__()
        check_positive(d_model=d_model, cond_dim=cond_dim)
        self.norm = nn.LayerNorm(d_model, elementwise_affine=cond_dim is None)
        self.modulation: nn.Linear | None = None
        if cond_dim is not None:
            self.modulation = nn.Linear(cond_dim, 3 * d_model)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the normed tokens `(B, T, D)` and the gate, broadcastable to them.

        Args:
            x: Tokens `(B, T, D)`.
            cond: `(B, C)` for all tokens of a sample or `(B, T, C)` for each token.

        Raises:
            ValueError: A condition is missing, or given to a block built without `cond_dim`.
        """
        if (cond is None) != (self.modulation is None):
            msg = "cond is needed" if cond is None else "cond was given to a block without cond_dim"
            raise ValueError(msg)
        normed: Tensor = self.norm(x)
        if cond is None or self.modulation is None:
            return normed, None
        modulation = self.modulation(F.silu(cond))
        if cond.dim() == x.dim() - 1:
            modulation = modulation.unsqueeze(-2)
        scale, shift, gate = modulation.chunk(3, dim=-1)
        return normed * (1.0 + scale) + shift, gate


def _check_heads(d_model: int, nhead: int, dropout: float) -> None:
    check_positive(d_model=d_model, nhead=nhead)
    check_divides("nhead", nhead, "d_model", d_model)
    check_fraction(dropout=dropout)


def _split_heads(x: Tensor, nhead: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], nhead, -1).transpose(1, 2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)
