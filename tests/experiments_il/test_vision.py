"""Camera backbones of transformers: their own outputs, as tokens; weights from real files."""

from __future__ import annotations

import pickle
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.camera_pixels import CameraPixels, sinusoidal_grid
from experiments_il.blocks.vision import BackboneName, VisionBackbone, import_transformers
from experiments_il.blocks.vision_models import ARCHITECTURES, FAMILIES
from policy_constructor.pretrained import without_pretrained

VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CONVOLUTIONS = {"hidden_sizes": [16, 32], "depths": [1, 1]}
TINY: dict[str, dict[str, Any]] = {
    "resnet18": CONVOLUTIONS | {"embedding_size": 16},
    "dinov2_s": VIT | {"patch_size": 16, "image_size": 32},
    "dinov2_reg_s": VIT | {"patch_size": 16, "image_size": 32},
    "dinov3_vits16": VIT | {"intermediate_size": 32},
    "dinov3_convnext_tiny": CONVOLUTIONS,
    "siglip_b": VIT | {"intermediate_size": 32, "image_size": 32},
    "siglip2_naflex_b": VIT | {"intermediate_size": 32, "num_patches": 4},
    "radio_l": VIT | {"max_img_size": 64},
}
CELLS = {"resnet18": (4, 6), "dinov3_convnext_tiny": (4, 6)}


def build(name: Any, **settings: Any) -> VisionBackbone:
    return VisionBackbone(name, width=8, settings=TINY[name], **settings)


def save(name: str, folder: Path, **changes: Any) -> nn.Module:
    """Save a model of transformers as published ones are, and return it."""
    torch.manual_seed(1)
    family, transformers = FAMILIES[ARCHITECTURES[name].family], import_transformers()
    sizes = dict(ARCHITECTURES[name].config) | TINY[name] | changes
    config = getattr(transformers, family.config)(**sizes)
    model: nn.Module = getattr(transformers, family.model)(config).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)  # type: ignore[arg-type] # there is one
    model.save_pretrained(folder)  # type: ignore[operator] # typed as a tensor
    return model


def run_transformers(name: str, model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tokens and the summary that the saved model itself makes of images."""
    scaled = images / 255.0
    if name == "radio_l":  # normalises by itself
        output = model(scaled)
        return output.features, output.summary
    family = FAMILIES[ARCHITECTURES[name].family]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (family.mean, family.std))
    pixels = (scaled - mean) / std
    if name == "siglip2_naflex_b":
        processing = import_module("transformers.models.siglip2.image_processing_pil_siglip2")
        cut = [processing.convert_image_to_patches(each.numpy(), 16) for each in pixels]
        patches = torch.from_numpy(np.stack(cut))
        output = model(patches, torch.ones(2, 6), torch.tensor([[2, 3]] * 2))
    else:
        sized = {"interpolate_pos_encoding": True} if name == "siglip_b" else {}
        output = model(pixels, **sized)
    tokens = output.last_hidden_state
    if tokens.ndim == 4:
        tokens = tokens.flatten(2).transpose(1, 2)
    rows, columns = CELLS.get(name, (2, 3))
    return tokens[:, -rows * columns :], output.pooler_output.flatten(1)


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 32, 48), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", TINY)
def test_saved_weights_give_the_outputs_of_transformers(
    name: str, tmp_path: Path, images: Tensor
) -> None:
    saved = save(name, tmp_path)
    backbone = build(name, pretrained=str(tmp_path), output="both").eval()
    features, summary = backbone.look(images)
    assert features.shape[1:3] == CELLS.get(name, (2, 3))
    expected = run_transformers(name, saved, images)
    torch.testing.assert_close(features.flatten(1, 2), expected[0])
    torch.testing.assert_close(summary, expected[1])
    assert backbone(images).shape == (2, 1 + features.shape[1] * features.shape[2], 8)


@pytest.mark.parametrize("name", TINY)
def test_every_trained_parameter_gets_a_gradient(name: str, images: Tensor) -> None:
    for output in ("features", "summary", "both"):
        backbone = build(name, output=output)
        backbone(images).square().sum().backward()
        idle = [key for key, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == ["project.bias"][:0]


def test_pixels_are_normalised_with_the_constants_of_the_model(images: Tensor) -> None:
    pixels = build("dinov3_vits16").pixels(images)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(pixels, (images / 255.0 - mean) / std)
    torch.testing.assert_close(build("siglip_b").pixels(images), images / 127.5 - 1)
    own = build("siglip_b", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).pixels(images)
    torch.testing.assert_close(own, images / 255.0)
    given = torch.randn(1, 3, 16, 16)
    assert torch.equal(build("dinov3_vits16").pixels(given), given)


@pytest.mark.parametrize(
    ("settings", "size", "corner"),
    [
        ({}, (28, 42), 1.0),
        ({"fit": "pad"}, (42, 56), 0.0),
        ({"size": (56, 50)}, (56, 56), 1.0),
        ({"size": (56, 50), "fit": "pad"}, (56, 56), 0.0),
    ],
)
def test_sides_become_multiples_of_the_patch(
    settings: dict[str, Any], size: tuple[int, int], corner: float
) -> None:
    pixels = CameraPixels((0.5,) * 3, (0.5,) * 3, 14, **settings)
    images = torch.full((1, 3, 34, 45), 255, dtype=torch.uint8)
    prepared = pixels(images)
    assert prepared.shape[-2:] == size
    assert prepared[0, 0, -1, -1] == corner


def test_frozen_model_stays_as_it_is_and_its_projection_learns(images: Tensor) -> None:
    backbone = build("dinov2_s", trainable=False).train()
    backbone(images).sum().backward()
    assert not backbone.model.training
    assert all(p.grad is None and not p.requires_grad for p in backbone.model.parameters())
    assert backbone.project is not None
    assert backbone.project.weight.grad is not None


def test_frozen_batch_norm_keeps_the_statistics_of_the_weights(
    tmp_path: Path, images: Tensor
) -> None:
    save("resnet18", tmp_path)
    backbone = build("resnet18", pretrained=str(tmp_path)).train()
    before = backbone(images).detach()
    kept = {key: value.clone() for key, value in backbone.named_buffers()}
    assert torch.equal(backbone(images), before)
    assert all(torch.equal(value, kept[key]) for key, value in backbone.named_buffers())
    scratch = build("resnet18")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in scratch.modules())
    group = build("resnet18", pretrained=str(tmp_path), norm="group")
    assert any(isinstance(module, nn.GroupNorm) for module in group.modules())


def test_history_is_in_order_and_the_same_image_differs_by_frame(images: Tensor) -> None:
    backbone = build("dinov3_vits16", n_obs_steps=2).eval()
    tokens = backbone(images[:, None].expand(-1, 2, -1, -1, -1))
    one = build("dinov3_vits16").eval()
    one.load_state_dict(backbone.state_dict() | {"frame": backbone.frame[1:].detach()})
    torch.testing.assert_close(tokens[:, 6:], one(images))
    assert not torch.allclose(tokens[:, :6], tokens[:, 6:])


def test_grid_pools_the_features(images: Tensor) -> None:
    assert build("resnet18", grid=2)(images).shape == (2, 4, 8)


def test_positions_differ_by_row_and_by_column() -> None:
    positions = sinusoidal_grid(3, 4, 8, torch.zeros(1)).flatten(0, 1)
    assert torch.cdist(positions, positions).fill_diagonal_(9.0).min() > 0.1


@pytest.mark.parametrize("name", TINY)
def test_names_of_one_size_have_the_same_model_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name, pretrained="/nowhere")
        tokens = backbone(torch.empty(2, 3, 32, 48, dtype=torch.uint8))
    assert tokens.shape[2] == 8
    assert {parameter.device.type for parameter in backbone.parameters()} == {"meta"}


def test_policy_that_is_loaded_needs_no_pretrained_files() -> None:
    with without_pretrained():
        backbone = build("resnet18", pretrained="/nowhere")
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())


def test_backbone_can_be_sent_to_another_process(images: Tensor) -> None:
    backbone = build("dinov2_s").eval()
    assert torch.equal(pickle.loads(pickle.dumps(backbone))(images), backbone(images))


def test_wrong_names_and_images_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="there is no backbone 'dinov2_m'; did you mean 'dinov2_"):
        VisionBackbone("dinov2_m")  # type: ignore[arg-type] # the mistake
    with pytest.raises(ValueError, match=r"Dinov2Config has no field 'hiden_size'; did you mean"):
        VisionBackbone("dinov2_s", settings={"hiden_size": 8})
    with pytest.raises(ValueError, match="width must be a multiple of 4"):
        VisionBackbone("dinov2_s", width=6)
    with pytest.raises(ValueError, match=r"image has shape \(2, 3, 32, 48\), expected 2 frame"):
        build("dinov3_vits16", n_obs_steps=2)(images)


def test_names_that_are_checked_are_those_that_exist() -> None:
    assert list(get_args(BackboneName)) == list(ARCHITECTURES)


def test_page_names_every_backbone_with_its_repository() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/vision-backbones.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for name, architecture in ARCHITECTURES.items():
        (row,) = [row for row in rows if name in row.split(" |")[0].removeprefix("| ").split(", ")]
        assert architecture.repository in row
