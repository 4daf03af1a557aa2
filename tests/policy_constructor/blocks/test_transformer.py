"""Attention against torch's reference, masks, the cached memory and conditioning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from policy_constructor.blocks.attention import AdaptiveLayerNorm, CrossAttention, SelfAttention
from policy_constructor.blocks.transformer import TransformerDecoder, TransformerEncoder

B, T, M, D, N = 2, 5, 7, 16, 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def randomized(module: nn.Module) -> Any:
    """Return the module with every parameter random, those that start at zero included."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module.eval()


def padding(length: int, padded: int) -> torch.Tensor:
    mask = torch.zeros(B, length, dtype=torch.bool)
    mask[0, length - padded :] = True
    return mask


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [0, 2])
def test_self_attention_equals_the_reference(causal: bool, padded: int) -> None:
    attention = randomized(SelfAttention(D, N, causal=causal))
    x, mask = torch.randn(B, T, D), padding(T, padded)
    tokens = x.transpose(0, 1)
    expected, _ = F.multi_head_attention_forward(
        tokens, tokens, tokens, D, N,
        attention.qkv.weight, attention.qkv.bias, None, None, False, 0.0,
        attention.out.weight, attention.out.bias, training=False,
        key_padding_mask=mask, need_weights=False,
        attn_mask=torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None,
    )  # fmt: skip
    found = attention(x, mask if padded else None)
    torch.testing.assert_close(found, expected.transpose(0, 1), rtol=1e-5, atol=1e-5)


def test_cross_attention_equals_the_reference() -> None:
    attention = randomized(CrossAttention(D, N))
    x, memory, mask = torch.randn(B, T, D), torch.randn(B, M, D), padding(M, 3)
    weight = torch.cat([attention.query.weight, attention.key_value.weight])
    bias = torch.cat([attention.query.bias, attention.key_value.bias])
    expected, _ = F.multi_head_attention_forward(
        x.transpose(0, 1), memory.transpose(0, 1), memory.transpose(0, 1), D, N,
        weight, bias, None, None, False, 0.0, attention.out.weight, attention.out.bias,
        training=False, key_padding_mask=mask, need_weights=False,
    )  # fmt: skip
    found = attention(x, attention.cache(memory, mask))
    torch.testing.assert_close(found, expected.transpose(0, 1), rtol=1e-5, atol=1e-5)


def test_causal_token_ignores_later_ones() -> None:
    encoder = randomized(TransformerEncoder(D, N, 2, causal=True))
    x = torch.randn(B, T, D)
    changed = x.clone()
    changed[:, 3:] = torch.randn(B, 2, D)
    before, after = encoder(x), encoder(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_padded_token_changes_no_other() -> None:
    encoder = randomized(TransformerEncoder(D, N, 2))
    x, mask = torch.randn(B, T, D), padding(T, 2)
    changed = x.clone()
    changed[0, 3:] = torch.randn(2, D)
    before, after = encoder(x, mask), encoder(changed, mask)
    torch.testing.assert_close(before[~mask], after[~mask])


@pytest.fixture
def decoder() -> TransformerDecoder:
    built: TransformerDecoder = randomized(
        TransformerDecoder(D, N, 3, memory_dim=12, cond_dim=6, causal=True)
    )
    return built


@pytest.mark.parametrize("padded", [0, 3])
def test_cached_memory_equals_recomputed(decoder: TransformerDecoder, padded: int) -> None:
    x, memory, cond = torch.randn(B, T, D), torch.randn(B, M, 12), torch.randn(B, 6)
    mask = padding(M, padded) if padded else None
    expected = decoder(x, memory, memory_mask=mask, cond=cond)
    found = decoder(x, cache=decoder.cache(memory, mask), cond=cond)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_cache_projects_the_memory_once_per_layer(decoder: TransformerDecoder) -> None:
    calls: list[str] = []
    for name, module in decoder.named_modules():
        if name.endswith("key_value"):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    cache = decoder.cache(torch.randn(B, M, 12))
    for _ in range(10):
        decoder(torch.randn(B, T, D), cache=cache, cond=torch.randn(B, 6))
    assert len(calls) == 3


def test_cache_is_an_unchanged_tuple_of_pairs(decoder: TransformerDecoder) -> None:
    cache = decoder.cache(torch.randn(B, M, 12))
    before = [tensor.clone() for layer in cache for tensor in layer]
    decoder(torch.randn(B, T, D), cache=cache, cond=torch.randn(B, 6))
    assert isinstance(cache, tuple)
    assert [tuple(tensor.shape) for tensor in cache[0]] == [(B, N, M, D // N)] * 2
    after = [tensor for layer in cache for tensor in layer]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give exactly one of memory and cache"),
        ({"memory": 0, "cache": 0}, "give exactly one of memory and cache"),
        ({"cache": 1}, "the cache is of 1 layers, the decoder has 3"),
        (
            {"cache": 0, "memory_mask": 0},
            "give memory_mask to cache(memory, memory_mask), not next to a cache",
        ),
    ],
)
def test_decoder_refuses_unclear_memory(
    decoder: TransformerDecoder, given: dict[str, int], message: str
) -> None:
    memory = torch.randn(B, M, 12)
    cache = decoder.cache(memory)
    values = {"memory": memory, "cache": cache, "memory_mask": padding(M, 1)}
    arguments: dict[str, Any] = {name: values[name] for name in given}
    if given.get("cache"):
        arguments["cache"] = cache[:1]
    with pytest.raises(ValueError, match=r"give|cache") as caught:
        decoder(torch.randn(B, T, D), cond=torch.randn(B, 6), **arguments)
    assert str(caught.value) == message


def test_conditioned_block_starts_as_the_identity() -> None:
    encoder = TransformerEncoder(D, N, 2, cond_dim=6, final_norm=False)
    x = torch.randn(B, T, D)
    assert torch.equal(encoder(x, cond=torch.randn(B, 6)), x)


@pytest.mark.parametrize("shape", [(B, 6), (B, T, 6)])
def test_adaptive_norm_follows_its_formula(shape: tuple[int, ...]) -> None:
    norm = randomized(AdaptiveLayerNorm(D, 6))
    x, cond = torch.randn(B, T, D), torch.randn(shape)
    scale, shift, gate = norm.modulation(F.silu(cond)).reshape(B, -1, 3 * D).chunk(3, dim=-1)
    normed, found_gate = norm(x, cond)
    torch.testing.assert_close(normed, F.layer_norm(x, (D,)) * (1 + scale) + shift)
    torch.testing.assert_close(found_gate, gate)


@pytest.mark.parametrize(
    ("cond_dim", "cond", "message"),
    [
        (6, None, "cond is needed"),
        (None, torch.zeros(B, 6), "cond was given to a block without cond_dim"),
    ],
)
def test_condition_is_given_exactly_when_declared(
    cond_dim: int | None, cond: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TransformerEncoder(D, N, 1, cond_dim=cond_dim)(torch.zeros(B, T, D), cond=cond)


@pytest.mark.filterwarnings("default")  # torch's own
def test_decoder_with_cache_compiles_as_one_graph(decoder: TransformerDecoder) -> None:
    torch.compiler.reset()
    x, cond, cache = torch.randn(B, T, D), torch.randn(B, 6), decoder.cache(torch.randn(B, M, 12))
    compiled = torch.compile(decoder, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(x, cache=cache, cond=cond), decoder(x, cache=cache, cond=cond)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_model": 6}, "d_model=6 must be a multiple of nhead=4"),
        ({"num_layers": 0}, "num_layers must be a positive whole number, got 0"),
        ({"dropout": -0.1}, "dropout must be in [0, 1), got -0.1"),
        ({"dim_feedforward": 0}, "dim_feedforward must be a positive whole number, got 0"),
    ],
)
def test_wrong_size_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    arguments = {"d_model": D, "nhead": N, "num_layers": 1, **options}
    with pytest.raises(ValueError, match="must be") as caught:
        TransformerEncoder(**arguments)
    assert str(caught.value) == message
