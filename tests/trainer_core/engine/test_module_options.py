from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from policy_constructor.errors import ConfigError
from trainer_core.checkpoint.layout import step_name
from trainer_core.engine import module_options
from trainer_core.engine.module_options import recompute_activations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Train = Callable[..., Any]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / step_name(13) / "model.model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.allclose(tensor, second[name], atol=1e-6) for name, tensor in first.items()
    )


@pytest.mark.parametrize(
    "change", ["model.compile={backend: aot_eager}", "model.activation_checkpointing=true"]
)
def test_options_change_neither_weights_nor_names(
    train: Train, tmp_path: Path, change: str
) -> None:
    train(out="plain")
    train(change, out="changed")
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "changed"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_compiled_code_trains_to_the_same_weights(train: Train, tmp_path: Path) -> None:
    train("model.sequential.layers.1.p=0", out="plain")  # inductor draws its dropout differently
    train("model.sequential.layers.1.p=0", "model.compile=true", out="compiled")
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "compiled"))


def test_compiled_component_calls_its_back_end(train: Train) -> None:
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch._dynamo.reset()
    train("model.compile={backend: eager, fullgraph: true}")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "{backend: aot_eagr}",
            "model.compile: torch has no compiler back end 'aot_eagr'",
        ),
        (
            "true",
            (
                "model.compile: compiling for the CPU needs a C++ compiler, and there is none: "
                "install it, or set 'compile: {backend: aot_eager}', which needs none"
            ),
        ),
        ("{fullgraf: true}", "model.compile.fullgraf"),
    ],
)
def test_compiler_that_cannot_be_had_is_explained(
    train: Train, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    monkeypatch.setattr(module_options, "_has_compiler", lambda: False)
    with pytest.raises(ConfigError) as caught:
        train(f"model.compile={options}")
    assert message in str(caught.value)


def test_blocks_are_computed_again_in_the_backward_pass() -> None:
    calls: list[int] = []

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            out: torch.Tensor = self.dropout(self.linear(x))
            return out

    torch.manual_seed(0)
    net = nn.Sequential(Block(), Block())
    plain = copy.deepcopy(net)
    recompute_activations(net)
    net = copy.deepcopy(net)
    x = torch.randn(3, 4)
    for model in (plain, net):
        torch.manual_seed(1)
        model(x).square().sum().backward()
    assert len(calls) == 2 + 4
    assert list(net.state_dict()) == list(plain.state_dict())
    for one, other in zip(net.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
    net.eval()(x)
    assert len(calls) == 2 + 4 + 2
