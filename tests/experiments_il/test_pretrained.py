"""Pretrained weights: from folders, files and the hub's cache; never a part, never a pickle."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments_il.blocks.depth import DepthAnything
from experiments_il.blocks.kornia_augmentation import KorniaAugmentation
from experiments_il.blocks.pretrained import build_pretrained
from experiments_il.blocks.vision import VisionBackbone, import_transformers
from trainer_core.errors import MissingPackageError

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}


def config(**changes: Any) -> Any:
    return import_transformers().Dinov2Config(patch_size=14, **(SIZES | changes))


def build(source: str | Path, *, strict: bool = True) -> Any:
    return build_pretrained(import_transformers().Dinov2Model, config(), str(source), strict=strict)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = import_transformers().Dinov2Model(config())
    model.save_pretrained(tmp_path / "saved")  # under the keys that published files have
    return tmp_path / "saved"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def assert_equals(model: Any, folder: Path) -> None:
    expected = import_transformers().Dinov2Model.from_pretrained(folder).state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


AFTER_LOADING = """
import sys, torch
from experiments_il.blocks.vision import VisionBackbone
settings = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}
VisionBackbone("dinov2_s", 16, pretrained=sys.argv[1], settings=settings)
with torch.device("meta"):
    print(torch.linspace(0, 1, 3).device)
"""


def test_loading_weights_leaves_torch_as_it_was(saved: Path) -> None:
    command = [sys.executable, "-c", AFTER_LOADING, str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "meta\n"


def test_folder_and_file_give_the_same_weights(saved: Path, capfd: Any) -> None:
    capfd.readouterr()
    models = [build(saved), build(saved / "model.safetensors")]
    assert capfd.readouterr() == ("", "")
    for model in models:
        assert_equals(model, saved)


def test_weights_in_several_files_are_joined(saved: Path, tmp_path: Path) -> None:
    model = import_transformers().Dinov2Model.from_pretrained(saved)
    model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    assert_equals(build(tmp_path / "shards"), saved)


def test_weights_of_a_classifier_are_found_in_it(saved: Path, tmp_path: Path) -> None:
    classifier = import_transformers().Dinov2ForImageClassification(config(num_labels=3))
    classifier.dinov2 = import_transformers().Dinov2Model.from_pretrained(saved)
    classifier.save_pretrained(tmp_path / "classifier")
    assert_equals(build(tmp_path / "classifier"), saved)


def test_misfit_names_tensors_with_both_shapes(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    del tensors["layernorm.weight"]
    tensors["layernorm.bias"] = torch.zeros(24)
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(ValueError, match="does not fit") as error:
        build(saved)
    assert str(error.value) == (
        f"{saved} does not fit Dinov2Model:\n"
        "  - layernorm.weight [16]  is missing\n"
        "  ! layernorm.bias  is [24], the model has [16]\n"
        "choose the name or settings of these weights, or load what fits with strict: false"
    )
    loaded = build(saved, strict=False).state_dict()
    assert torch.equal(loaded["embeddings.cls_token"], tensors["embeddings.cls_token"])


def test_misfit_of_everything_is_told_in_few_lines(saved: Path) -> None:
    save_file({"other": torch.zeros(1)}, saved / "model.safetensors")
    with pytest.raises(ValueError, match=r"\.\.\. and \d+ more") as error:
        build(saved)
    assert len(str(error.value).splitlines()) == 11


def test_pickled_weights_are_never_read(saved: Path) -> None:
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"has no model\.safetensors; it has .*_model\.bin\. Oth"):
        build(saved)
    with pytest.raises(ValueError, match="is no safetensors file; others are not read, they can"):
        build(saved / "pytorch_model.bin")


def test_damaged_files_are_named(saved: Path, tmp_path: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"0" * 64)
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read as safetensors: "):
        build(saved)
    with pytest.raises(ValueError, match=r"there is no folder or \.safetensors file .*/none; of "):
        build(tmp_path / "none")
    index = saved / "model.safetensors.index.json"
    index.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="is no index of safetensors files: "):
        build(saved)
    index.write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"names '\.\./a\.safetensors', which does not lie besi"):
        build(saved)


@pytest.mark.parametrize("source", ["hub:lab/eyes", "hub:lab/eyes@main"])
def test_hub_weights_come_from_the_cache(source: str, saved: Path, cache: Path) -> None:
    folder = cache / "models--lab--eyes"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40, encoding="utf-8")
    shutil.copytree(saved, folder / "snapshots" / ("0" * 40))
    assert_equals(build(source), saved)


@pytest.mark.usefixtures("cache")
def test_without_cache_and_network_the_command_is_said() -> None:
    with pytest.raises(ValueError, match=r"of lab/eyes is not in the hub's cache and cannot be d"):
        build("hub:lab/eyes")
    command = r"run: hf download facebook/dinov2-small --include '\*\.safetensors\*'"
    with pytest.raises(ValueError, match=command):
        VisionBackbone("dinov2_s", pretrained="hub")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("dinov2_s", "hub:eyes", "expected hub:OWNER/NAME or hub:OWNER/NAME@REVISION, found 'hub:"),
        ("radio_l", "hub", "'radio_l' has no usual repository: write pretrained: hub:OWNER/NAME"),
    ],
)
def test_places_that_are_none_are_refused(name: Any, source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VisionBackbone(name, pretrained=source)


@pytest.mark.parametrize(
    ("package", "build_block", "message"),
    [
        ("transformers", VisionBackbone, "a backbone of transformers needs a package that is not"),
        ("transformers", DepthAnything, r"installed: pip install 'experiments-il\[vision\]'"),
        ("kornia", lambda: KorniaAugmentation([]), r"pip install 'experiments-il\[augment\]'"),
    ],
)
def test_missing_package_is_said_with_its_extra(
    package: str, build_block: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=message):
        build_block()


def test_blocks_import_their_packages_only_when_they_are_built() -> None:
    modules = ("vision", "depth", "kornia_augmentation")
    code = "import sys\n" + "".join(f"import experiments_il.blocks.{each}\n" for each in modules)
    code += "print({'transformers', 'kornia', 'huggingface_hub'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "set()\n"
