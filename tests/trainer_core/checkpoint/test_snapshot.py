from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from trainer_core.checkpoint.shadow import Shadow
from trainer_core.checkpoint.snapshot import unique_tensors
from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight


def test_tied_weights_are_stored_once() -> None:
    tensors, aliases = unique_tensors(Tied())
    assert list(tensors) == ["first.weight"]
    assert aliases == {"second.weight": "first.weight"}


def test_stored_tensors_are_copies() -> None:
    module = nn.Linear(2, 2)
    tensors = Shadow().copy("file", unique_tensors(module)[0])
    nn.init.zeros_(module.weight)
    assert tensors["weight"].any()


def test_views_of_one_storage_are_stored_apart() -> None:
    module = nn.Module()
    storage = torch.arange(4.0)
    module.register_buffer("low", storage[:2])
    module.register_buffer("high", storage[2:])
    tensors, aliases = unique_tensors(module)
    assert (tensors["low"].tolist(), tensors["high"].tolist()) == ([0, 1], [2, 3])
    assert not aliases


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.01, "momentum": 0.9}),
    ("Adam", {"lr": 0.01, "amsgrad": True}),
    ("AdamW", {"lr": 0.01, "fused": True}),
    ("Adagrad", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01}),
]


@pytest.mark.parametrize(("name", "kwargs"), OPTIMIZERS)
@pytest.mark.parametrize(
    "schedule",
    [
        {
            "type": "OneCycleLR",
            "kwargs": {"max_lr": 0.1, "total_steps": 20, "cycle_momentum": False},
        },
        {"type": "MultiStepLR", "kwargs": {"milestones": [2, 8]}},
        {"type": "ExponentialLR", "kwargs": {"gamma": 0.9}, "interval": "epoch"},
    ],
    ids=lambda schedule: schedule["type"],
)
def test_optimizers_and_schedules_go_on_exactly(
    train: Callable[..., Any], name: str, kwargs: dict[str, Any], schedule: dict[str, Any]
) -> None:
    sections = {
        "optimizer": {"_type_": "torch", "type": name, "kwargs": kwargs},
        "scheduler": {"_type_": "torch", **schedule},
    }
    whole = train(out="whole", **sections)
    train("trainer.max_steps=7", out="cut", **sections)
    cut = train(out="cut", **sections)
    assert {"loss", "lr"} <= cut.metrics.keys()
    assert (cut.metrics["loss"], cut.metrics["lr"]) == (whole.metrics["loss"], whole.metrics["lr"])


@pytest.mark.parametrize("step", [6, 11])
def test_save_at_the_end_of_an_epoch_comes_before_its_schedule(
    train: Callable[..., Any], step: int
) -> None:
    saving = {"_type_": "model_checkpoint", "every_n_epochs": 1, "keep_last": 9}
    schedule = {"type": "ExponentialLR", "kwargs": {"gamma": 0.5}, "interval": "epoch"}
    sections = {"scheduler": {"_type_": "torch", **schedule}, "callbacks": [saving]}
    whole = train(**sections)
    cut = train(resume=step, **sections)
    assert (cut.metrics["loss"], cut.metrics["lr"]) == (whole.metrics["loss"], whole.metrics["lr"])


def test_checkpoint_of_another_optimizer_is_refused(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    train("trainer.max_steps=2")
    with pytest.raises(CheckpointError) as caught:
        train("optimizer.type=SGD", "optimizer.kwargs.lr=0.1", "scheduler.kwargs.eta_min=0.1")
    assert str(caught.value) == (
        f"the checkpoint {tmp_path}/run/checkpoints/step-000000002 was trained with other "
        "settings:\n"
        "  optimizer.kwargs.lr was 0.01 and is 0.1 (<cli>:2:21)\n"
        "  optimizer.type was AdamW and is SGD (<cli>:1:16)\n"
        "  scheduler.kwargs.eta_min was not given and is 0.1 (<cli>:3:26)\n"
        "  give the new experiment its own run.out_dir, or start over with --resume none, "
        "or go on all the same with --allow optimizer,schedule"
    )


def test_schedule_of_another_length_is_refused(train: Callable[..., Any]) -> None:
    schedule = {"_type_": "torch", "type": "CosineAnnealingLR"}
    train("trainer.max_steps=2", scheduler=schedule)
    with pytest.raises(CheckpointError, match="max_steps was 2 and is 3"):
        train("trainer.max_steps=3", scheduler=schedule)


@pytest.mark.parametrize("scheduler", [None, {"_type_": "sched_cls.StepLR", "step_size": 2}])
def test_run_without_such_a_schedule_may_grow(train: Callable[..., Any], scheduler: Any) -> None:
    train("trainer.max_steps=2", scheduler=scheduler)
    assert train("trainer.max_steps=3", scheduler=scheduler).step == 3
