"""Action decoders: one interface, a cache that equals recomputation, a quiet start."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import MLPActionDecoder, TransformerActionDecoder

Decoder = MLPActionDecoder | TransformerActionDecoder
HORIZON, ACTION, TOKENS, WIDTH = 6, 3, 5, 16


def make_decoder(name: str, **options: Any) -> Decoder:
    """Build a small decoder whose zero-started layers are not zero."""
    torch.manual_seed(0)
    decoder: Decoder
    if name == "mlp":
        decoder = MLPActionDecoder(ACTION, HORIZON, TOKENS, WIDTH, width=32, **options)
    else:
        decoder = TransformerActionDecoder(ACTION, HORIZON, WIDTH, layers=2, heads=4, **options)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return decoder


def make_inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, HORIZON, ACTION, generator=generator),
        torch.rand(batch, generator=generator),
        torch.randn(batch, TOKENS, WIDTH, generator=generator),
    )


both = pytest.mark.parametrize("name", ["mlp", "transformer"])


@both
def test_cached_step_equals_forward(name: str) -> None:
    decoder = make_decoder(name)
    x_t, t, memory = make_inputs()
    velocity = decoder(x_t, t, memory)
    assert velocity.shape == (2, HORIZON, ACTION)
    assert torch.allclose(decoder.step(x_t, t, decoder.cache(memory)), velocity, atol=1e-5)


@both
def test_steps_leave_the_cache_alone(name: str) -> None:
    decoder = make_decoder(name)
    x_t, t, memory = make_inputs()
    cache = decoder.cache(memory)
    before = [[part.clone() for part in layer] for layer in cache]
    decoder.step(x_t, t, cache)
    assert isinstance(cache, tuple)
    for layer, kept in zip(cache, before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(layer, kept, strict=True))


@both
@pytest.mark.parametrize("changed", [0, 1, 2])
def test_velocity_depends_on_every_input(name: str, changed: int) -> None:
    decoder = make_decoder(name)
    inputs = list(make_inputs())
    before = decoder(*inputs)
    inputs[changed] = inputs[changed] * 0.5 + 0.1
    assert not torch.allclose(decoder(*inputs), before)


@pytest.mark.parametrize(
    "decoder",
    [
        MLPActionDecoder(ACTION, HORIZON, TOKENS, WIDTH),
        TransformerActionDecoder(ACTION, HORIZON, WIDTH),
    ],
)
def test_new_decoder_predicts_zero(decoder: Decoder) -> None:
    assert torch.equal(decoder(*make_inputs()), torch.zeros(2, HORIZON, ACTION))


def test_transformer_caches_a_pair_per_layer() -> None:
    cache = make_decoder("transformer").cache(make_inputs()[2])
    assert len(cache) == 2
    assert [part.shape for layer in cache for part in layer] == [(2, 4, TOKENS, WIDTH // 4)] * 4


def test_causal_actions_ignore_later_ones() -> None:
    decoder = make_decoder("transformer", causal=True)
    x_t, t, memory = make_inputs()
    later = x_t.clone()
    later[:, 3:] += 1
    before, after = decoder(x_t, t, memory), decoder(later, t, memory)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-5)
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_actions_know_their_position() -> None:
    decoder = make_decoder("transformer")
    _, t, memory = make_inputs()
    velocity = decoder(torch.ones(2, HORIZON, ACTION), t, memory)
    assert not torch.allclose(velocity[:, 0], velocity[:, 1])


def test_memory_of_another_width_is_projected() -> None:
    decoder = TransformerActionDecoder(ACTION, HORIZON, WIDTH, memory_width=7)
    assert decoder.cache(torch.randn(2, TOKENS, 7))[0][0].shape[2] == TOKENS


def test_wrong_memory_names_its_parameters() -> None:
    decoder = MLPActionDecoder(ACTION, HORIZON, memory_tokens=1, memory_width=WIDTH)
    with pytest.raises(ValueError, match="memory has shape") as caught:
        decoder.cache(torch.zeros(2, 2, WIDTH))
    assert str(caught.value) == (
        f"memory has shape (2, 2, {WIDTH}), expected (B, 1, {WIDTH}): "
        "memory_tokens and memory_width of the decoder decide"
    )
