from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from trainer_core.callbacks.ema import EMA
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Watch:
    """Keeps the weights after each step, and those that an evaluation sees."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.evaluated: list[torch.Tensor] = []
        self.trained: list[torch.Tensor] = []

    def spy(self, experiment: Any) -> None:
        self.name, self.weight = next(experiment.models["model"].named_parameters())
        self.weights.append(self.weight.detach().clone())
        experiment.hooks._manager.register(self)
        experiment.evaluator = self

    @hookimpl
    def trainer_step_end(self) -> None:
        self.weights.append(self.weight.detach().clone())

    def evaluate(self, context: Any) -> dict[str, Any]:
        del context
        self.evaluated.append(self.weight.detach().clone())
        return {"n": 1}

    @hookimpl
    def trainer_fit_end(self) -> None:
        self.trained.append(self.weight.detach().clone())


@pytest.mark.parametrize("warmup", [False, True])
def test_averages_follow_their_recursion(
    train: Callable[..., Any], tmp_path: Path, warmup: bool
) -> None:
    watch = Watch()
    train(callbacks=[{"_type_": "ema", "decay": 0.8, "warmup": warmup}], spy=watch.spy)
    average = watch.weights[0].double()
    for k, weight in enumerate(watch.weights[1:], start=1):
        decay = min(0.8, 1 - (1 + k) ** -0.75) if warmup else 0.8
        average = decay * average + (1 - decay) * weight.double()
    folder = tmp_path / "run" / "checkpoints" / "step-000000013"
    stored = load_file(folder / "ema.model.safetensors")[watch.name]
    assert torch.allclose(stored.double(), average, atol=1e-7)
    assert torch.equal(watch.evaluated[0], stored)
    assert torch.equal(watch.trained[0], watch.weights[-1])


def test_averages_may_begin_later_and_move_less_often(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    watch = Watch()
    ema = {"_type_": "ema", "decay": 0.8, "warmup": False, "update_after_step": 4, "every": 3}
    train(callbacks=[ema], spy=watch.spy)
    average = watch.weights[4].double()
    for step in (6, 9, 12):
        average = 0.8 * average + 0.2 * watch.weights[step].double()
    folder = tmp_path / "run" / "checkpoints" / "step-000000013"
    stored = load_file(folder / "ema.model.safetensors")[watch.name]
    assert torch.allclose(stored.double(), average, atol=1e-7)


@pytest.mark.parametrize("parameters", [{"every": 0}, {"update_after_step": -1}])
def test_number_of_steps_outside_its_range_is_refused(parameters: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="update_after_step must be at least 0"):
        EMA(**parameters)  # type: ignore[arg-type] # only these


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1"):
        EMA(decay)
