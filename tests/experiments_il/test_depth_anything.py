"""The depth model: transformers' own outputs as tokens, never trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.camera_pixels import sinusoidal_grid
from experiments_il.blocks.depth import DepthAnything
from experiments_il.blocks.vision import import_transformers

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {"hidden_size": 16, "num_hidden_layers": 12, "num_attention_heads": 2, "image_size": 28}


def build(**settings: Any) -> DepthAnything:
    return DepthAnything(settings=SIZES, **settings)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    transformers, folder = import_transformers(), tmp_path_factory.mktemp("depth")
    inner = transformers.Dinov2Config(
        **SIZES, patch_size=14, out_indices=[3, 6, 9, 12], reshape_hidden_states=False
    )
    config = transformers.DepthAnythingConfig(backbone_config=inner, reassemble_hidden_size=16)
    torch.manual_seed(0)
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 28, 42), generator=generator, dtype=torch.uint8)


def test_features_are_those_of_the_chosen_layers(saved: tuple[Any, Path], images: Tensor) -> None:
    model, folder = saved
    block = build(pretrained=str(folder), layers=[2, 9])
    hidden = model.backbone(block.pixels(images), output_hidden_states=True).hidden_states
    chosen = [model.backbone.layernorm(hidden[layer])[:, 1:] for layer in (2, 9)]
    positions = sinusoidal_grid(4, 3, 16, images.float()).flatten(0, 1)
    torch.testing.assert_close(block(images), torch.cat(chosen, dim=1) + positions)


def test_depth_is_that_of_the_model_cell_by_cell(saved: tuple[Any, Path], images: Tensor) -> None:
    model, folder = saved
    block = build(pretrained=str(folder), output="depth")
    expected = model(block.pixels(images)).predicted_depth
    tokens = block(images)
    assert tokens.shape == (2, 6, 196)
    torch.testing.assert_close(tokens[:, 4], expected[:, 14:28, 14:28].flatten(1))


def test_nothing_of_it_is_trained(images: Tensor) -> None:
    block = build(grid=1, n_obs_steps=2).train()
    tokens = block(images[:, None].expand(-1, 2, -1, -1, -1))
    assert tokens.shape == (2, 8, 16)
    assert not tokens.requires_grad
    assert not any(module.training for module in block.modules())
    assert not any(parameter.requires_grad for parameter in block.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "depth_anything_v3_l"}, "no depth model 'depth_anything_v3_l'; did you mean 'd"),
        ({"name": "depth_anything_v2"}, "no depth model 'depth_anything_v2'; did you mean 'depth"),
        ({"layers": [13]}, "there is no layer 13; the model has 1 to 12"),
        ({"layers": [3], "output": "depth"}, "layers and grid are those of features; leave them"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_images_of_another_history_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"image has shape \(2, 3, 28, 42\), expected 2 frame"):
        build(n_obs_steps=2)(images)
