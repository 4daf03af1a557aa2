"""Pre-norm transformer encoder, and a decoder whose memory's keys and values can be kept.

Shapes: B batch, T tokens, M memory tokens, D width (`d_model`), N heads, C width of a condition.
Masks follow torch: in a padding mask True marks a token that must not be attended to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from policy_constructor.blocks.attention import (
    AdaptiveLayerNorm,
    CrossAttention,
    SelfAttention,
)
from policy_constructor.blocks.basic import Activation, build_activation
from policy_constructor.blocks.checks import check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from policy_constructor.blocks.attention import LayerCache, MemoryCache

__all__ = ["TransformerDecoder", "TransformerEncoder"]


class TransformerEncoder(nn.Module):
    """A stack of pre-norm layers: self-attention, then a feed-forward network.

    Input and output `(B, T, d_model)`. Positions are not added: see `learned_positions` and
    `sinusoidal_positions`.

    Args:
        d_model: Width of a token; a multiple of `nhead`.
        nhead: Heads.
        num_layers: Layers.
        dim_feedforward: Width inside the feed-forward network; by default `4 * d_model`.
        dropout: On attention weights and on what each sub-layer adds.
        activation: Inside the feed-forward network.
        causal: Whether a token sees only itself and earlier ones.
        cond_dim: Width of a condition for adaptive layer norms; none by default.
        final_norm: Whether a layer norm follows the last layer.

    Raises:
        ValueError: A size below 1, `d_model` no multiple of `nhead`, dropout outside [0, 1), an
            unknown activation.

    Source: Xiong et al., On Layer Normalization in the Transformer, arXiv:2002.04745 (pre-norm).
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        num_layers: int,
        dim_feedforward: int | None = None,
        dropout: float = 0.0,
        activation: Activation = "gelu",
        causal: bool = False,
        cond_dim: int | None = None,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        check_positive(num_layers=num_layers)
        self.layers = nn.ModuleList(
            _EncoderLayer(d_model, nhead, dim_feedforward, dropout, activation, causal, cond_dim)
            for _ in range(num_layers)
        )
        self.norm: nn.Module = nn.LayerNorm(d_model) if final_norm else nn.Identity()

    def forward(
        self, x: Tensor, key_padding_mask: Tensor | None = None, cond: Tensor | None = None
    ) -> Tensor:
        """Map `(B, T, D)` to `(B, T, D)`.

        Args:
            x: Tokens.
            key_padding_mask: `(B, T)`, bool, True where a token is padding.
            cond: `(B, C)` or `(B, T, C)`; given exactly when the block has `cond_dim`.
        """
        for layer in self.layers:
            x = layer(x, key_padding_mask, cond)
        out: Tensor = self.norm(x)
        return out


class TransformerDecoder(nn.Module):
    """A stack of pre-norm layers: self-attention, cross-attention to a memory, feed-forward.

    Input and output `(B, T, d_model)`. Where the memory stays the same over many calls (the steps
    of a flow), `cache(memory)` computes its keys and values once and `forward(x, cache=...)` uses
    them; the result equals `forward(x, memory)`. Time must then reach the tokens or `cond`, not
    the memory.

    Args:
        d_model: Width of a token; a multiple of `nhead`.
        nhead: Heads.
        num_layers: Layers.
        dim_feedforward: Width inside the feed-forward network; by default `4 * d_model`.
        dropout: On attention weights and on what each sub-layer adds.
        activation: Inside the feed-forward network.
        causal: Whether a token sees only itself and earlier ones.
        cond_dim: Width of a condition for adaptive layer norms; none by default.
        memory_dim: Width of a memory token; by default `d_model`.
        final_norm: Whether a layer norm follows the last layer.

    Raises:
        ValueError: A size below 1, `d_model` no multiple of `nhead`, dropout outside [0, 1), an
            unknown activation.

    Source: Xiong et al., On Layer Normalization in the Transformer, arXiv:2002.04745 (pre-norm).
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        num_layers: int,
        dim_feedforward: int | None = None,
        dropout: float = 0.0,
        activation: Activation = "gelu",
        causal: bool = False,
        cond_dim: int | None = None,
        memory_dim: int | None = None,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        check_positive(num_layers=num_layers)
        self.layers = nn.ModuleList(
            _DecoderLayer(
                d_model, nhead, dim_feedforward, dropout, activation, causal, cond_dim, memory_dim
            )
            for _ in range(num_layers)
        )
        self.norm: nn.Module = nn.LayerNorm(d_model) if final_norm else nn.Identity()

    def cache(self, memory: Tensor, memory_mask: Tensor | None = None) -> MemoryCache:
        """Return the keys and values of a memory, one immutable pair per layer.

        Args:
            memory: `(B, M, memory_dim)`.
            memory_mask: `(B, M)`, bool, True where a memory token is padding. It is kept in the
                cache: each layer's pair becomes (keys, values, attention mask `(B, 1, 1, M)`).

        Returns:
            Per layer (keys, values), each `(B, N, M, D / N)`.
        """
        return tuple(
            layer.cross.cache(memory, memory_mask)
            for layer in self.layers
            if isinstance(layer, _DecoderLayer)
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        cache: MemoryCache | None = None,
        key_padding_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Map `(B, T, D)` to `(B, T, D)`, looking at a memory.

        Args:
            x: Tokens.
            memory: `(B, M, memory_dim)`; give this or `cache`.
            cache: What `cache(memory)` returned; never changed.
            key_padding_mask: `(B, T)`, bool, True where a token is padding.
            memory_mask: `(B, M)`, bool, True where a memory token is padding; with `memory` only.
            cond: `(B, C)` or `(B, T, C)`; given exactly when the block has `cond_dim`.

        Raises:
            ValueError: Neither or both of `memory` and `cache`, a cache of another depth, or a
                `memory_mask` next to a cache.
        """
        caches = self._caches(memory, cache, memory_mask)
        for layer, layer_cache in zip(self.layers, caches, strict=True):
            x = layer(x, layer_cache, key_padding_mask, cond)
        out: Tensor = self.norm(x)
        return out

    def _caches(
        self, memory: Tensor | None, cache: MemoryCache | None, memory_mask: Tensor | None
    ) -> MemoryCache:
        if memory is not None and cache is None:
            return self.cache(memory, memory_mask)
        if memory is not None or cache is None:
            msg = "give exactly one of memory and cache"
            raise ValueError(msg)
        if memory_mask is not None:
            msg = "give memory_mask to cache(memory, memory_mask), not next to a cache"
            raise ValueError(msg)
        if len(cache) != len(self.layers):
            msg = f"the cache is of {len(cache)} layers, the decoder has {len(self.layers)}"
            raise ValueError(msg)
        return cache


class _FeedForward(nn.Sequential):
    """Linear, activation, dropout, linear; `(B, T, D)` to `(B, T, D)`."""

    def __init__(
        self, d_model: int, width: int | None, dropout: float, activation: Activation
    ) -> None:
        check_positive(dim_feedforward=width)
        hidden = 4 * d_model if width is None else width
        super().__init__(
            nn.Linear(d_model, hidden),
            build_activation(activation),
            nn.Dropout(dropout),
            nn.Linear(hidden, d_model),
        )


class _EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each `x + gate * dropout(f(norm(x)))`."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int | None,
        dropout: float,
        activation: Activation,
        causal: bool,
        cond_dim: int | None,
    ) -> None:
        super().__init__()
        self.norm_attention = AdaptiveLayerNorm(d_model, cond_dim)
        self.attention = SelfAttention(d_model, nhead, dropout, causal)
        self.norm_feed_forward = AdaptiveLayerNorm(d_model, cond_dim)
        self.feed_forward = _FeedForward(d_model, dim_feedforward, dropout, activation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, key_padding_mask: Tensor | None, cond: Tensor | None) -> Tensor:
        x = self._attend(x, key_padding_mask, cond)
        return self._feed(x, cond)

    def _attend(self, x: Tensor, key_padding_mask: Tensor | None, cond: Tensor | None) -> Tensor:
        normed, gate = self.norm_attention(x, cond)
        return self._add(x, self.attention(normed, key_padding_mask), gate)

    def _feed(self, x: Tensor, cond: Tensor | None) -> Tensor:
        normed, gate = self.norm_feed_forward(x, cond)
        return self._add(x, self.feed_forward(normed), gate)

    def _add(self, x: Tensor, update: Tensor, gate: Tensor | None) -> Tensor:
        update = self.dropout(update)
        return x + update if gate is None else x + gate * update


class _DecoderLayer(_EncoderLayer):
    """An encoder layer with cross-attention to a memory between its two parts."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int | None,
        dropout: float,
        activation: Activation,
        causal: bool,
        cond_dim: int | None,
        memory_dim: int | None,
    ) -> None:
        super().__init__(d_model, nhead, dim_feedforward, dropout, activation, causal, cond_dim)
        self.norm_cross = AdaptiveLayerNorm(d_model, cond_dim)
        self.cross = CrossAttention(d_model, nhead, memory_dim, dropout)

    def forward(  # type: ignore[override] # a decoder layer is called with a memory
        self,
        x: Tensor,
        cache: LayerCache,
        key_padding_mask: Tensor | None,
        cond: Tensor | None,
    ) -> Tensor:
        x = self._attend(x, key_padding_mask, cond)
        normed, gate = self.norm_cross(x, cond)
        x = self._add(x, self.cross(normed, cache), gate)
        return self._feed(x, cond)
