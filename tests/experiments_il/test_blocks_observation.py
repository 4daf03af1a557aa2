"""Encoders of observations: shapes, messages, and what must not leak between sources."""

import pytest
import torch

from experiments_il.blocks.info import InfoEmbedder
from experiments_il.blocks.resnet import SmallResNet
from experiments_il.blocks.state import StateEncoder


def test_state_history_becomes_tokens() -> None:
    encoder = StateEncoder(state_dim=5, width=8, n_obs_steps=2, hidden=[16], tokens=3)
    assert encoder(torch.randn(4, 2, 5)).shape == (4, 3, 8)


def test_single_state_needs_no_frame_axis() -> None:
    encoder = StateEncoder(state_dim=5, width=8, hidden=[])
    state = torch.randn(4, 5)
    assert torch.equal(encoder(state), encoder(state.unsqueeze(1)))


def test_novel_states_are_clamped() -> None:
    encoder = StateEncoder(state_dim=2, width=4, clamp=5.0)
    assert torch.equal(encoder(torch.tensor([[900.0, 0]])), encoder(torch.tensor([[5.0, 0]])))


def test_wrong_history_names_its_parameters() -> None:
    encoder = StateEncoder(state_dim=5, n_obs_steps=2)
    with pytest.raises(ValueError, match="expected") as caught:
        encoder(torch.randn(4, 3, 5))
    assert str(caught.value) == (
        "state has shape (4, 3, 5), expected (B, 2, 5): "
        "n_obs_steps and state_dim of the state encoder decide"
    )


def test_images_become_a_grid_of_tokens() -> None:
    backbone = SmallResNet(width=8, channels=[16, 32], grid=2, n_obs_steps=2)
    assert backbone(torch.zeros(3, 2, 3, 32, 40, dtype=torch.uint8)).shape == (3, 8, 8)


def test_bytes_are_scaled_to_one() -> None:
    backbone = SmallResNet(width=8, channels=[16], grid=1)
    image = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.allclose(backbone(image), backbone(image.float() / 127.5 - 1))


def test_one_image_does_not_see_another() -> None:
    backbone = SmallResNet(width=8, channels=[16], grid=1).train()
    images = torch.randn(2, 3, 16, 16)
    assert torch.allclose(backbone(images)[:1], backbone(images[:1]), atol=1e-5)


def test_wrong_number_of_frames_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected 1 frame\(s\) on axis 1"):
        SmallResNet(channels=[16])(torch.zeros(1, 2, 3, 16, 16))


def test_channels_must_fill_groups() -> None:
    with pytest.raises(ValueError, match=r"^channels must be multiples of 16, got 20$"):
        SmallResNet(channels=[20])


def test_memory_concatenates_sources_in_order() -> None:
    embedder = InfoEmbedder({"observation.state": 4, "observation.image": 6}, width=8)
    tokens = {"observation.image": torch.randn(2, 3, 6), "observation.state": torch.randn(2, 1, 4)}
    memory = embedder(tokens)
    assert memory.shape == (2, 4, 8)
    changed = embedder(tokens | {"observation.image": torch.randn(2, 3, 6)})
    assert torch.equal(memory[:, :1], changed[:, :1])
    assert not torch.equal(memory[:, 1:], changed[:, 1:])


def test_sources_are_told_apart() -> None:
    embedder = InfoEmbedder({"left": 4, "right": 4}, width=4)
    embedder.projections[1].load_state_dict(embedder.projections[0].state_dict())
    same = torch.randn(1, 1, 4)
    memory = embedder({"left": same, "right": same})
    assert not torch.allclose(memory[:, 0], memory[:, 1])


def test_unknown_source_is_named() -> None:
    with pytest.raises(ValueError, match="sources are") as caught:
        InfoEmbedder({"observation.state": 4})({"observation.image": torch.zeros(1, 1, 4)})
    assert str(caught.value) == (
        "got tokens of ['observation.image'], "
        "but the info embedder's sources are ['observation.state']"
    )
