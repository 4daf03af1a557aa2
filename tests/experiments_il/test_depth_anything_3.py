"""Depth Anything 3: the seam to its package, of which a small stand-in with its API is written."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_model
from torch import Tensor, nn

from experiments_il.blocks.camera_pixels import sinusoidal_grid
from experiments_il.blocks.depth import DepthAnything
from trainer_core.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STAND_IN = {
    "registry.py": 'MODEL_REGISTRY = {"da3-small": "/configs/da3-small.yaml"}\n',
    "cfg.py": """
from types import SimpleNamespace
from depth_anything_3 import network


def load_config(path):
    net = SimpleNamespace(kind="Backbone", out_layers=[5, 7, 9, 11])
    return SimpleNamespace(net=net, head=SimpleNamespace(kind="Head"))


def create_object(config):
    print("[INFO ] using MLP layer as FFN")
    return getattr(network, config.kind)(getattr(config, "out_layers", None))
""",
    "network.py": """
from types import SimpleNamespace
import torch
from torch import nn


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_size, self.embed_dim = 14, 8
        self.patch_embed = nn.Conv2d(3, 8, 14, 14)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(12))
        self.norm = nn.LayerNorm(8)
        self.position_getter = SimpleNamespace(position_cache={})


class Backbone(nn.Module):
    def __init__(self, out_layers):
        super().__init__()
        self.out_layers, self.pretrained = out_layers, Transformer()

    def forward(self, x, export_feat_layers=()):
        net, (scenes, views) = self.pretrained, x.shape[:2]
        assert views == 1, "each image is a scene of its own"
        assert not net.position_getter.position_cache
        tokens = net.patch_embed(x.flatten(0, 1)).flatten(2).transpose(1, 2)[:, None]
        net.position_getter.position_cache[tokens.shape[2]] = tokens
        outputs, features = [], []
        for number, block in enumerate(net.blocks):
            tokens = tokens + block(tokens).tanh()
            if number in self.out_layers:
                both = torch.cat([tokens, net.norm(tokens)], dim=-1)
                outputs.append((both, both[:, :, 0]))
            if number in export_feat_layers:
                features.append(net.norm(tokens))
        return tuple(outputs), features


class Head(nn.Module):
    def __init__(self, _):
        super().__init__()
        shared = nn.LayerNorm(196)
        self.project = nn.Linear(64, 196)
        self.first, self.second = nn.Sequential(shared), nn.Sequential(shared)

    def forward(self, feats, H, W, patch_start_idx):
        joined = torch.cat([each[0] for each in feats], dim=-1)[:, :, patch_start_idx:]
        cells = self.second(self.project(joined)).transpose(-1, -2).flatten(0, 1)
        depth = nn.functional.fold(cells, (H, W), kernel_size=14, stride=14)
        return {"depth": depth}
""",
}


def forget_package() -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "depth_anything_3"]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the stand-in, which can be imported until the test ends."""
    folder = tmp_path / "depth_anything_3"
    folder.mkdir()
    for name, text in STAND_IN.items():
        (folder / name).write_text(text, encoding="utf-8")
    forget_package()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    forget_package()


@pytest.fixture
def published(package: Path) -> Any:
    """The stand-in's whole network, as the class `DepthAnything3` holds it; its weights saved."""
    cfg: Any = importlib.import_module("depth_anything_3.cfg")
    config = cfg.load_config("")
    torch.manual_seed(0)
    whole = nn.Module()
    whole.model = nn.Module()
    whole.model.backbone = cfg.create_object(config.net)
    whole.model.head = cfg.create_object(config.head)
    save_model(whole, str(package / "model.safetensors"))
    return whole.model


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 28, 42), generator=generator, dtype=torch.uint8)


def build(**settings: Any) -> DepthAnything:
    return DepthAnything("depth_anything_3_s", **settings)


def test_features_are_those_that_the_package_exports(
    package: Path, published: Any, images: Tensor
) -> None:
    block = build(pretrained=str(package), layers=[9, 2])
    _, features = published.backbone(block.pixels(images)[:, None], export_feat_layers=[1, 8])
    published.backbone.pretrained.position_getter.position_cache.clear()
    tokens = torch.cat([each[:, 0] for each in features], dim=1)
    positions = sinusoidal_grid(4, 3, 8, images.float()).flatten(0, 1)
    torch.testing.assert_close(block(images), (tokens + positions).detach())
    assert len(block.model.backbone.pretrained.blocks) == 9


def test_without_layers_those_that_the_head_reads_are_taken(package: Path, images: Tensor) -> None:
    block = build(grid=1, n_obs_steps=2)
    assert block.model.layers == (6, 8, 10, 12)
    assert block(images[:, None].expand(-1, 2, -1, -1, -1)).shape == (2, 8, 8)


def test_depth_is_that_of_the_package_cell_by_cell(
    package: Path, published: Any, images: Tensor
) -> None:
    block = build(pretrained=str(package / "model.safetensors"), output="depth")
    tokens, _ = published.backbone(block.pixels(images)[:, None])
    expected = published.head(tokens, 28, 42, 0)["depth"].detach()
    assert block(images).shape == (2, 6, 196)
    torch.testing.assert_close(block(images)[:, 4], expected[:, 0, 14:28, 14:28].flatten(1))


def test_nothing_of_it_is_trained_or_printed(package: Path, images: Tensor, capfd: Any) -> None:
    block = build().train()
    assert not block(images).requires_grad
    assert not any(module.training for module in block.modules())
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert capfd.readouterr() == ("", "")


def test_it_is_asked_on_any_device_and_sent_to_other_processes(
    package: Path, images: Tensor
) -> None:
    block = build(layers=[3])
    expected = block(images)
    with torch.inference_mode():
        block(images[:1])
    assert torch.equal(copy.deepcopy(block)(images), expected)
    assert torch.equal(pickle.loads(pickle.dumps(block))(images), expected)
    assert block.to("meta")(images.to("meta")).shape == expected.shape


@pytest.mark.parametrize(("output", "width"), [("features", 8), ("depth", 196)])
def test_shapes_are_told_without_memory(package: Path, output: Any, width: int) -> None:
    with torch.device("meta"):
        block = build(output=output, pretrained="/nowhere", grid=None)
    assert all(parameter.is_meta for parameter in block.parameters())
    images = torch.empty(2, 3, 30, 40, dtype=torch.uint8, device="meta")
    assert block(images).shape == (2, 24 if output == "features" else 6, width)


def test_weights_that_lack_a_tensor_are_refused(package: Path, published: Any) -> None:
    published.backbone.pretrained.norm = nn.LayerNorm(8, bias=False)
    published.head.project = nn.Linear(64, 98)
    save_model(published, str(package / "model.safetensors"))  # with no `model.` before its keys
    with pytest.raises(ValueError, match="does not fit") as error:
        build(pretrained=str(package), output="depth")
    assert str(error.value) == (
        f"{package} does not fit depth_anything_3_s:\n"
        "  - backbone.pretrained.norm.bias [8]  is missing\n"
        "  ! head.project.bias  is [98], the model has [196]\n"
        "  ! head.project.weight  is [98, 64], the model has [196, 64]\n"
        "choose the name or settings of these weights, or load what fits with strict: false"
    )
    block = build(pretrained=str(package), output="depth", strict=False)
    loaded = block.state_dict()["model.backbone.pretrained.blocks.0.weight"]
    assert torch.equal(loaded, published.backbone.pretrained.blocks[0].weight)


def test_pickled_weights_are_not_read(package: Path, published: Any) -> None:
    torch.save(published.state_dict(), package / "pytorch_model.bin")
    with pytest.raises(ValueError, match="is no safetensors file; others are not read, they can"):
        build(pretrained=str(package / "pytorch_model.bin"))


def test_the_usual_repository_is_named(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(package / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"run: hf download depth-anything/DA3-SMALL --include "):
        build(pretrained="hub")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [13]}, "there is no layer 13; the model has 1 to 12"),
        ({"settings": {"hidden_size": 8}}, "'depth_anything_3_s' has the sizes of its package"),
        ({"layers": [3], "output": "depth"}, "layers and grid are those of features; leave them"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_a_package_that_is_missing_is_said_with_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "depth_anything_3", None)
    with pytest.raises(MissingPackageError) as error:
        build()
    assert str(error.value) == (
        "the depth model 'depth_anything_3_s' needs a package that is not installed: "
        "pip install 'git+https://github.com/ByteDance-Seed/Depth-Anything-3'"
    )


def test_what_the_package_needs_is_said_where_it_is_missing(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "addict", None)
    (package / "network.py").write_text("from addict import Dict\n", encoding="utf-8")
    with pytest.raises(MissingPackageError, match=r"the package depth_anything_3 .*'addict'$"):
        build()


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("registry.py", "MODEL_REGISTRY", "MODELS", "AttributeError: module .* no attribute 'MOD"),
        ("registry.py", "da3-small", "da3-tiny", "KeyError: 'da3-small'"),
        ("cfg.py", "out_layers=", "layers=", "AttributeError: .* no attribute 'out_layers'"),
        ("cfg.py", "import network", "import other", "ImportError: cannot import name 'other'"),
        ("network.py", "export_feat_layers", "layers", "TypeError: .* 'export_feat_layers'"),
        ("network.py", "net.norm(tokens))", "tokens[..., :4])", r"shapes \[\(1, 6, 4\), .* not "),
    ],
)
def test_another_version_of_the_package_is_said(
    package: Path, name: str, old: str, new: str, reason: str
) -> None:
    text = STAND_IN[name].replace(old, new)
    (package / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=reason) as error:
        build()
    first, last = str(error.value).splitlines()
    start = f"'depth_anything_3_s' cannot be built with the depth_anything_3 in {package}, perhaps"
    assert first.startswith(start)
    assert last == (
        "one that works: pip install 'git+https://github.com/ByteDance-Seed/Depth-Anything-3"
        "@2c21ea849ceec7b469a3e62ea0c0e270afc3281a'"
    )
