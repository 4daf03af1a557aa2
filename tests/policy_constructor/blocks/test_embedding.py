"""Embeddings of time and positions against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from policy_constructor.blocks.embedding import (
    LearnedPositions,
    SinusoidalPositions,
    SinusoidalTimeEmbedding,
)


@pytest.mark.parametrize("dim", [4, 64, 768])
def test_every_channel_of_time_moves(dim: int) -> None:
    embedding = SinusoidalTimeEmbedding(dim)(torch.linspace(0.0, 1.0, 1001))
    span = embedding.amax(dim=0) - embedding.amin(dim=0)
    assert embedding.shape == (1001, dim)
    assert span.min() >= 0.9


def test_time_embedding_has_the_stated_periods() -> None:
    embed = SinusoidalTimeEmbedding(8)
    periods = 2 * math.pi / embed.angular_frequency
    assert periods.tolist() == pytest.approx([0.004, 0.04, 0.4, 4.0], rel=1e-5)
    phase = 2 * math.pi * 0.3 / periods
    expected = torch.cat([phase.sin(), phase.cos()])
    torch.testing.assert_close(embed(torch.tensor(0.3)), expected, rtol=0.0, atol=1e-4)


def test_time_embedding_stays_float32() -> None:
    embed = SinusoidalTimeEmbedding(16)
    t = torch.rand(5)
    expected = embed(t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(embed(t), expected)
    assert torch.equal(embed.to(torch.bfloat16)(t), expected)
    assert embed(t).dtype == torch.float32


def test_time_embedding_adds_nothing_to_checkpoints() -> None:
    assert list(SinusoidalTimeEmbedding(8).state_dict()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7,), "dim=7 must be a multiple of the pair of sine and cosine=2"),
        ((2,), "dim must be at least 4, got 2"),
        ((8, 1.0, 0.5), "periods must be 0 < min_period < max_period, got 1.0, 0.5"),
    ],
)
def test_time_embedding_refuses_wrong_values(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        SinusoidalTimeEmbedding(*arguments)  # type: ignore[arg-type] # the mistakes under test
    assert str(caught.value) == message


def test_sinusoidal_positions_follow_the_paper() -> None:
    table = SinusoidalPositions(6)(torch.zeros(1, 5, 6))[0]
    for position in range(5):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            expected = [math.sin(angle), math.cos(angle)]
            assert table[position, 2 * pair : 2 * pair + 2].tolist() == pytest.approx(
                expected, abs=1e-6
            )


def test_learned_positions_are_added_to_tokens() -> None:
    positions = LearnedPositions(8, 4)
    x = torch.randn(2, 5, 4)
    assert torch.equal(positions(x), x + positions.weight[:5])


def test_too_many_tokens_name_the_parameter() -> None:
    with pytest.raises(ValueError, match="9 tokens, but learned_positions has num_positions=8"):
        LearnedPositions(8, 4)(torch.zeros(1, 9, 4))
