"""Mixtures of action decoders: E velocity fields with stacked weights.

Both offer the interface of a single decoder with one more axis: all experts `(B, E, H, A)`, or one
expert's velocity `(B, H, A)`, which costs what a single decoder costs.

Shapes: B batch, E experts, H chunk length, A action dimension, M memory tokens, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments_il.blocks.action_decoder import (
    MemoryCache,
    MLPActionDecoder,
    TransformerActionDecoder,
)
from experiments_il.blocks.stacked import (
    StackedWeights,
    Weights,
    layer_norm,
    stacked_linear,
)
from policy_constructor.blocks.embedding import SinusoidalTimeEmbedding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.ranges import Count, Positive

__all__ = ["ExpertDecoder", "MLPExpertDecoder", "TransformerExpertDecoder"]

_NORMS = ("norm_attention", "norm_cross", "norm_feed_forward")


class ExpertDecoder(nn.Module, ABC):
    """What the mixtures have in common: all experts at once, or one of them."""

    def __init__(self, weights: StackedWeights, action_dim: int, horizon: int) -> None:
        super().__init__()
        self.weights = weights
        self.experts = weights.count
        self.action_dim = action_dim
        self.horizon = horizon

    def select(self, expert: int | Tensor | None = None) -> Weights:
        """Return weights that `cache` and `step` take in place of a number.

        Args:
            expert: A number; None: all; or one for each row of the batch, int64 `(B,)`, which
                copies the weights of each row's expert. One row costs what one expert costs.
        """
        return self.weights.select(expert)

    def cache(self, memory: Tensor, expert: int | Weights | None = None) -> MemoryCache:
        """Return what depends on the memory alone, for all experts or for one."""
        return self._cache(self._weights(expert), memory)

    def step(
        self, x_t: Tensor, t: Tensor, cache: MemoryCache, expert: int | Weights | None = None
    ) -> Tensor:
        """Return the velocities `(B, E, H, A)` of all experts, or `(B, H, A)` of one.

        Args:
            x_t: Noisy chunk `(B, H, A)`.
            t: Times `(B,)`.
            cache: From `cache(memory, expert)` with the same expert; not changed.
            expert: Number of the expert; None: all; or what `select` returned.
        """
        weights = self._weights(expert)
        velocities = self._step(weights, x_t, t, cache)
        if weights.is_row_wise:
            return velocities[:, 0]
        return velocities.transpose(0, 1) if expert is None else velocities[0]

    def forward(self, x_t: Tensor, t: Tensor, memory: Tensor) -> Tensor:
        """Return the velocities `(B, E, H, A)` given the memory `(B, M, memory_width)`."""
        return self.step(x_t, t, self.cache(memory))

    def _weights(self, expert: int | Weights | None) -> Weights:
        return expert if isinstance(expert, Weights) else self.weights.select(expert)

    @abstractmethod
    def _cache(self, weights: Weights, memory: Tensor) -> MemoryCache: ...

    @abstractmethod
    def _step(self, weights: Weights, x_t: Tensor, t: Tensor, cache: MemoryCache) -> Tensor:
        """Return the velocities `(E, B, H, A)` of the experts whose weights these are."""


class MLPExpertDecoder(ExpertDecoder):
    """E copies of `mlp_action_decoder`.

    Args:
        action_dim: Dimensions A of an action.
        horizon: Chunk length H.
        experts: Experts E. More: more modes apart, and E times the computation in training.
        memory_tokens: Tokens M of the memory, the latent's included.
        memory_width: Width of a memory token.
        width: Hidden width D.
        layers: Residual layers.
        time_width: Channels of the time features, even.
    """

    def __init__(
        self,
        action_dim: Positive,
        horizon: Positive,
        experts: Positive = 4,
        memory_tokens: Positive = 2,
        memory_width: Positive = 256,
        width: Positive = 256,
        layers: Count = 2,
        time_width: Positive = 32,
    ) -> None:
        modules = [
            MLPActionDecoder(
                action_dim, horizon, memory_tokens, memory_width, width, layers, time_width
            )
            for _ in range(experts)
        ]
        super().__init__(StackedWeights(modules), action_dim, horizon)
        self.memory_tokens = memory_tokens
        self.memory_width = memory_width
        self.layers = layers
        self.time_features = SinusoidalTimeEmbedding(time_width)

    def _cache(self, weights: Weights, memory: Tensor) -> MemoryCache:
        if memory.shape[1:] != (self.memory_tokens, self.memory_width):
            message = (
                f"memory has shape {tuple(memory.shape)}, expected (B, {self.memory_tokens}, "
                f"{self.memory_width}): memory_tokens and memory_width of the decoder decide"
            )
            raise ValueError(message)
        return ((weights.map_input(memory.flatten(1), "condition", has_bias=False),),)

    def _step(self, weights: Weights, x_t: Tensor, t: Tensor, cache: MemoryCache) -> Tensor:
        ((condition,),) = cache
        inputs = torch.cat([x_t.flatten(1), self.time_features(t).to(x_t.dtype)], dim=1)
        embedded = weights.map_input(inputs, "embed")
        h = F.silu(embedded + condition)
        for i in range(self.layers):
            layer = f"hidden.{i}"
            h = h + F.silu(stacked_linear(h, weights[f"{layer}.weight"], weights[f"{layer}.bias"]))
        velocity = stacked_linear(h, weights["output.weight"], weights["output.bias"])
        return velocity.reshape(*velocity.shape[:2], self.horizon, self.action_dim)


class TransformerExpertDecoder(ExpertDecoder):
    """E copies of `transformer_action_decoder`, without dropout.

    Args:
        action_dim: Dimensions A of an action.
        horizon: Chunk length H.
        experts: Experts E. More: more modes apart, and E times the computation in training.
        width: Width D of the action tokens, even.
        layers: Number of transformer layers.
        heads: Attention heads; must divide `width`.
        feedforward: Hidden width of a layer's MLP; null: `4 * width`.
        memory_width: Width of a memory token; null: `width`.
        causal: Let an action attend only to itself and earlier ones.
    """

    def __init__(
        self,
        action_dim: Positive,
        horizon: Positive,
        experts: Positive = 4,
        width: Positive = 256,
        layers: Positive = 4,
        heads: Positive = 8,
        feedforward: Positive | None = None,
        memory_width: Positive | None = None,
        causal: bool = False,
    ) -> None:
        modules = [
            TransformerActionDecoder(
                action_dim, horizon, width, layers, heads, feedforward, memory_width, causal
            )
            for _ in range(experts)
        ]
        names = [f"transformer.layers.{i}" for i in range(layers)]
        joined = {
            "memory": [f"{name}.cross.key_value" for name in names],
            "modulation": [f"{name}.{norm}.modulation" for name in names for norm in _NORMS],
        }
        super().__init__(StackedWeights(modules, joined), action_dim, horizon)
        self.layers = names
        self.heads = heads
        self.causal = causal
        self.time_features = SinusoidalTimeEmbedding(width)

    def _cache(self, weights: Weights, memory: Tensor) -> MemoryCache:
        parts = self._split(weights.map_input(memory, "memory"), 2 * len(self.layers))
        if not torch.is_grad_enabled():  # a sampler reads them in each of its steps
            parts = tuple(part.contiguous() for part in parts)
        return tuple(zip(parts[::2], parts[1::2], strict=True))

    def _step(self, weights: Weights, x_t: Tensor, t: Tensor, cache: MemoryCache) -> Tensor:
        features = self.time_features(t).to(x_t.dtype)
        time = weights.map_input(features, "time.layers.0")
        time = _linear(weights, "time.layers.2", F.silu(time))
        modulation = _linear(weights, "modulation", F.silu(time)).unsqueeze(2)
        parts = iter(modulation.chunk(3 * len(_NORMS) * len(self.layers), dim=-1))
        tokens = weights.map_input(x_t, "embed") + weights["position.weight"].unsqueeze(1)
        for name, pair in zip(self.layers, cache, strict=True):
            tokens = self._layer(weights, name, tokens, parts, pair)
        norm = "transformer.norm"
        normed = layer_norm(tokens, weights[f"{norm}.weight"], weights[f"{norm}.bias"])
        return _linear(weights, "output", normed)

    def _layer(
        self,
        weights: Weights,
        name: str,
        x: Tensor,
        modulation: Iterator[Tensor],
        pair: tuple[Tensor, ...],
    ) -> Tensor:
        """Return the tokens after a layer, which takes its share of the modulation."""
        normed, gate = _modulate(x, modulation)
        query, key, value = self._split(_linear(weights, f"{name}.attention.qkv", normed), 3)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + gate * _linear(weights, f"{name}.attention.out", self._join(attended, x))
        normed, gate = _modulate(x, modulation)
        (query,) = self._split(_linear(weights, f"{name}.cross.query", normed), 1)
        attended = F.scaled_dot_product_attention(query, pair[0], pair[1])
        x = x + gate * _linear(weights, f"{name}.cross.out", self._join(attended, x))
        normed, gate = _modulate(x, modulation)
        hidden = F.gelu(_linear(weights, f"{name}.feed_forward.0", normed))
        return x + gate * _linear(weights, f"{name}.feed_forward.3", hidden)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Map `(E, B, T, parts * D)` to as many `(E * B, heads, T, D / heads)`.

        Experts are more of the batch.
        """
        shape = (x.shape[0] * x.shape[1], x.shape[2], parts, self.heads, -1)
        return tuple(part.transpose(1, 2) for part in x.reshape(shape).unbind(2))

    def _join(self, attended: Tensor, like: Tensor) -> Tensor:
        return attended.transpose(1, 2).reshape(like.shape)


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return stacked_linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _modulate(x: Tensor, modulation: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the adaptively normed tokens and the gate of a branch."""
    scale, shift, gate = islice(modulation, 3)
    return layer_norm(x) * (1 + scale) + shift, gate
