"""Losses and gradients that are not finite: found in their step, explained, and survived."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from trainer_core.checkpoint.layout import step_name
from trainer_core.engine.diagnosis import diagnose
from trainer_core.errors import TrainerError
from trainer_core.loggers.jsonl import read_metrics
from trainer_core.sampling import SampleOrder
from trainer_core.step import LossTrainer, NonFiniteStep, StepOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Train = Callable[..., Any]

BAD_STEP = 7  # counted from 0
EVERY_STEP = "trainer.log_every_n_steps=1"


class Poisoned:
    """A data set that has a NaN in the batch of one step only."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.bad = SampleOrder(22, 0).indices(BAD_STEP * 4, BAD_STEP * 4 + 4).tolist()

    def __len__(self) -> int:
        return 22

    def __getitems__(self, indices: Any) -> Any:
        batch = self.dataset.__getitems__(indices)
        if indices.tolist() == self.bad:
            batch["x"][2] = float("nan")
        return batch


def poison(experiment: Any) -> None:
    experiment.dataset = Poisoned(experiment.dataset)


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / step_name(step) / "model.model.safetensors")


def test_step_is_reported_with_its_samples_and_the_cause(train: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        train(EVERY_STEP, spy=poison)
    file = tmp_path / "run/nonfinite/step-000000008.json"
    message = str(caught.value)
    assert message.startswith("the loss is nan at step 8: the training has diverged, or the data")
    assert "\n  the batch has values that are not finite in x" in message
    assert message.endswith(f"\n  the samples of its batch are in {file}")
    report = json.loads(file.read_text())
    assert report["samples"] == SampleOrder(22, 0).indices(28, 32).tolist()
    assert report["gradients"][0].startswith("model/")
    assert not any(not w.isfinite().all() for w in train_to(train, tmp_path, 7).values())


def train_to(train: Train, tmp_path: Path, step: int) -> dict[str, torch.Tensor]:
    train(f"trainer.max_steps={step}", out="short")
    return weights(tmp_path / "short", step)


def test_skipped_step_leaves_everything_as_it_was(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = ("trainer.on_nonfinite=skip", EVERY_STEP, "trainer.max_steps=8")
    with caplog.at_level(logging.WARNING):
        train(*changes, spy=poison, callbacks=[{"_type_": "ema"}])
    assert "step 8 is skipped: the loss is nan at step 8" in caplog.text
    short, skipped = train_to(train, tmp_path, 7), weights(tmp_path / "run", 8)
    assert all(torch.equal(tensor, skipped[name]) for name, tensor in short.items())
    records = read_metrics(tmp_path / "run/metrics.jsonl")
    assert records[-1]["skipped_steps"] == 1
    assert "loss" not in records[-1]
    state = json.loads((tmp_path / "run/checkpoints" / step_name(8) / "state.json").read_text())
    assert state["schedules"]["default"]["last_epoch"] == 7


def test_skipping_gives_up_when_it_does_not_help(train: Train) -> None:
    def spoil(experiment: Any) -> None:
        next(experiment.models.parameters()).data.fill_(float("nan"))

    with pytest.raises(TrainerError, match="skipping does not help: 1 steps in a row"):
        train("trainer.on_nonfinite=skip", spy=spoil)


def test_rolled_back_run_leaves_the_step_out(train: Train, tmp_path: Path) -> None:
    changes = ("trainer.on_nonfinite=rollback", EVERY_STEP, "trainer.max_steps=9")
    saving = {"_type_": "model_checkpoint", "every_n_steps": 3, "keep_last": 9}
    train(*changes, spy=poison, callbacks=[saving, {"_type_": "ema"}])
    skipping = ("trainer.on_nonfinite=skip", EVERY_STEP, "trainer.max_steps=9")
    train(*skipping, out="skip", spy=poison, callbacks=[saving, {"_type_": "ema"}])
    rolled, skipped = weights(tmp_path / "run", 9), weights(tmp_path / "skip", 9)
    assert all(torch.equal(tensor, skipped[name]) for name, tensor in rolled.items())
    steps = [record["step"] for record in read_metrics(tmp_path / "run/metrics.jsonl")]
    assert steps == list(range(1, 10))
    state = json.loads((tmp_path / "run/checkpoints" / step_name(9) / "state.json").read_text())
    assert (state["loop"]["passed_over"], state["loop"]["rollbacks"]) == ([BAD_STEP], 1)


def test_resumed_run_leaves_the_step_out_too(train: Train, tmp_path: Path) -> None:
    changes = ("trainer.on_nonfinite=rollback", "trainer.max_steps=12")
    saving = [{"_type_": "model_checkpoint", "every_n_steps": 5, "keep_last": 9}]
    train(*changes, spy=poison, callbacks=saving)
    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints" / step_name(12))
    train(*changes, out="cut", callbacks=saving)  # the data are whole again
    whole, cut = weights(tmp_path / "run", 12), weights(tmp_path / "cut", 12)
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())


def test_going_back_has_an_end(train: Train) -> None:
    class AlwaysBad:
        def __len__(self) -> int:
            return 22

        def __getitems__(self, indices: Any) -> Any:
            bad = float("nan") if len(calls) > 6 else 1.0
            calls.append(1)
            return {"x": torch.full((len(indices), 3), bad), "y": torch.zeros(len(indices), 2)}

    calls: list[int] = []

    def spy(experiment: Any) -> None:
        experiment.dataset = AlwaysBad()

    saving = [{"_type_": "model_checkpoint", "every_n_steps": 3}]
    with pytest.raises(TrainerError, match="after 3 roll-backs"):
        train("trainer.on_nonfinite=rollback", spy=spy, callbacks=saving)


def test_nothing_to_go_back_to_is_said(train: Train) -> None:
    with pytest.raises(TrainerError, match="there is no checkpoint to go back to"):
        train("trainer.on_nonfinite=rollback", spy=poison)


def test_skipping_for_long_is_no_training(train: Train, tmp_path: Path) -> None:
    def spoil(experiment: Any) -> None:
        experiment.dataset.columns["y"].fill_(float("inf"))

    with pytest.raises(TrainerError, match="skipping does not help: 20 steps in a row"):
        train("trainer.on_nonfinite=skip", "trainer.max_steps=30", spy=spoil)
    assert len(list((tmp_path / "run/nonfinite").iterdir())) == 10


class Log(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x).log() * 0


def test_operation_and_module_of_the_forward_pass_are_named() -> None:
    models = nn.ModuleDict({"net": nn.Sequential(nn.Linear(2, 1), Log())})
    optimizers = {"default": torch.optim.SGD(models.parameters(), lr=0.1)}
    trainer = Root(models, optimizers, None, "cpu")
    failure = NonFiniteStep({"x": torch.ones(3, 2)}, 0, 0, {})
    found = diagnose(trainer, failure)
    assert found["first_infinite"] == "log in net/1"
    assert (found["operation"], found["module"]) == ("mul.Tensor", "net/1")


class Root(LossTrainer):
    """Its loss has a finite value and a gradient that is not."""

    def compute_losses(self, batch: Any, step: Any) -> Any:
        return self.models["net"](batch["x"]).square().sum().sqrt(), {}


def test_operation_of_the_backward_pass_is_named() -> None:
    models = nn.ModuleDict({"net": nn.Linear(2, 1)})
    for parameter in models.parameters():
        nn.init.zeros_(parameter)
    optimizers = {"default": torch.optim.SGD(models.parameters(), lr=0.1)}
    trainer = Root(models, optimizers, None, "cpu")
    trainer.configure(StepOptions())
    failures: list[NonFiniteStep] = []
    trainer.on_nonfinite = failures.append
    batch = {"x": torch.ones(3, 2)}
    trainer.train_step(batch, epoch=0, total_epochs=1, iterations=4)
    found = diagnose(trainer, failures[0])
    assert trainer.is_skipped
    assert "returned nan values in its 0th output" in found["backward"]
    assert found["operation"] == "mul.Tensor"
    assert found["first_infinite"] == "div.Tensor"
