from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer_core.errors import CheckpointError
from trainer_core.weights import (
    describe_mismatch,
    freeze_module,
    initialize_module,
    kaiming,
    load_component_weights,
    xavier,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("initializer", [xavier, kaiming])
def test_initialiser_changes_weights_and_clears_biases(
    initializer: Callable[[Tensor], None],
) -> None:
    module = network()
    initialize_module(module, initializer)
    assert not torch.equal(module.get_parameter("0.weight"), network().get_parameter("0.weight"))
    assert not module.get_parameter("0.bias").any()


def test_layer_without_sizes_is_left_alone() -> None:
    module = nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 2))
    initialize_module(module, xavier)
    assert not module.get_parameter("1.bias").any()


def test_pretrained_part_is_never_initialised() -> None:
    module = network()
    module.get_submodule("0").pretrained = True  # type: ignore[assignment] # a plain attribute
    initialize_module(module, xavier)
    assert torch.equal(module.get_parameter("0.weight"), network().get_parameter("0.weight"))
    assert not torch.equal(module.get_parameter("2.weight"), network().get_parameter("2.weight"))


def test_frozen_module_stays_in_eval_mode() -> None:
    module = nn.ModuleDict({"net": network()})
    freeze_module(module["net"])
    module.train()
    assert not any(part.training for part in module["net"].modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_copy_of_a_frozen_module_is_its_own() -> None:
    module = network()
    freeze_module(module)
    other = copy.deepcopy(module)
    assert other.train() is other
    assert not other.training


@pytest.mark.parametrize("place", ["net.safetensors", "", "checkpoints/step-000000007"])
def test_weights_come_from_a_file_or_a_checkpoint(tmp_path: Path, place: str) -> None:
    file = tmp_path / place
    if not place.endswith(".safetensors"):
        file = tmp_path / "checkpoints" / "step-000000007" / "model.net.safetensors"
        file.parent.mkdir(parents=True)
    trained = network()
    nn.init.ones_(trained.get_parameter("0.weight"))
    save_file(trained.state_dict(), file)
    module = network()
    load_component_weights(module, "net", str(tmp_path / place))
    assert torch.equal(module.get_parameter("0.weight"), torch.ones(4, 3))


def test_weights_of_another_shape_are_shown_as_a_diff(tmp_path: Path) -> None:
    save_file({"0.weight": torch.ones(9, 3), "extra": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_component_weights(
            nn.Sequential(nn.Linear(3, 4)), "net", str(tmp_path / "w.safetensors")
        )
    assert str(caught.value) == (
        f"{tmp_path}/w.safetensors does not fit the component 'net':\n"
        "  - 0.bias [4]  is missing\n"
        "  + extra [1]  is not in the model\n"
        "  ! 0.weight  is [9, 3], the model has [4, 3]"
    )


def test_long_difference_is_shortened() -> None:
    lines = describe_mismatch({str(i): torch.ones(1) for i in range(40)}, {})
    assert len(lines) == 11
    assert lines[-1] == "... and 30 more"


def test_missing_and_broken_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"models.net.weights: .* has no model.net"):
        load_component_weights(network(), "net", str(tmp_path))
    (tmp_path / "w.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_component_weights(network(), "net", str(tmp_path / "w.safetensors"))
