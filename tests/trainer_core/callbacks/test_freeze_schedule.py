from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from policy_constructor.errors import ConfigError
from trainer_core.callbacks.freeze_schedule import FreezeSchedule
from trainer_core.errors import UserError
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult

FIRST = "model/*0.weight"  # the first linear layer's weight; its bias is model/*0.bias
SAVES = {"_type_": "model_checkpoint", "every_n_steps": 1, "every_minutes": None, "keep_last": 99}
DECAYING = ("optimizer.kwargs.weight_decay=0.5",)


class Watch:
    """Keeps every parameter after each step, and whether modules trained in it."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.modes: list[bool] = []
        self.states: list[int] = []

    def spy(self, experiment: Any) -> None:
        self.model = experiment.models["model"]
        self.optimizer = next(iter(experiment.optimizers.values()))
        self._keep()
        experiment.hooks._manager.register(self)

    @hookimpl
    def trainer_step_end(self) -> None:
        self._keep()

    def _keep(self) -> None:
        named = self.model.named_parameters()
        self.steps.append({name: p.detach().clone() for name, p in named})
        dropout = next(m for m in self.model.modules() if type(m) is torch.nn.Dropout)
        self.modes.append(dropout.training)
        self.states.append(len(self.optimizer.state))

    def moved(self, name: str) -> list[int]:
        """Return the steps that changed a parameter, counted from 1."""
        pairs = zip(self.steps, self.steps[1:], strict=False)
        return [i for i, (old, new) in enumerate(pairs, 1) if not torch.equal(old[name], new[name])]

    def names(self) -> list[str]:
        return list(self.steps[0])


def globbed(pattern: str, **when: int) -> dict[str, Any]:
    return {"_type_": "freeze_schedule", "parts": {pattern: when}}


@pytest.mark.parametrize(
    ("when", "moving"),
    [
        ({"unfreeze_at": 5}, range(6, 14)),
        ({"freeze_at": 5}, range(1, 6)),
        ({"freeze_at": 3, "unfreeze_at": 5}, [1, 2, 3, *range(6, 14)]),
        ({"freeze_at": 8, "unfreeze_at": 5}, [6, 7, 8]),
    ],
)
def test_frozen_parameter_moves_only_when_it_may(
    train: Callable[..., RunResult], when: dict[str, int], moving: Any
) -> None:
    watch = Watch()
    train(*DECAYING, callbacks=[globbed("model/*0.*", **when)], spy=watch.spy)
    first, second, *others = watch.names()
    assert watch.moved(first) == watch.moved(second) == list(moving)
    assert all(watch.moved(name) == list(range(1, 14)) for name in others)


def test_optimizer_state_begins_with_the_training(train: Callable[..., RunResult]) -> None:
    watch = Watch()
    train(callbacks=[globbed(FIRST, unfreeze_at=5)], spy=watch.spy)
    assert watch.states == [0, 3, 3, 3, 3, 3, *[4] * 8]
    weight = dict(watch.model.named_parameters())[watch.names()[0]]
    assert float(watch.optimizer.state[weight]["step"]) == 13 - 5


@pytest.mark.parametrize("cut", [4, 5, 6, 9])
def test_resumed_run_is_exact_on_either_side_of_a_switch(
    train: Callable[..., RunResult], tmp_path: Path, cut: int
) -> None:
    parts = {FIRST: {"unfreeze_at": 5}, "model/*2.bias": {"freeze_at": 9}}
    callbacks = [SAVES, {"_type_": "freeze_schedule", "parts": parts}, {"_type_": "ema"}]
    train(*DECAYING, callbacks=callbacks, out="whole")
    train(*DECAYING, callbacks=callbacks, out="cut")
    train(*DECAYING, callbacks=callbacks, out="cut", resume=cut)
    for kind in ("model", "ema", "optim"):
        name = "default" if kind == "optim" else "model"
        file = f"checkpoints/step-000000013/{kind}.{name}.safetensors"
        whole, resumed = (load_file(tmp_path / out / file) for out in ("whole", "cut"))
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_module_at_rest_is_in_eval_mode(train: Callable[..., RunResult], tiny: Any) -> None:
    watch = Watch()
    inner = {"_type_": "nn.Sequential", "_args_": tiny["model"]["sequential"]["layers"][:2]}
    last = tiny["model"]["sequential"]["layers"][2]
    model = {"sequential": {"layers": [inner, last]}}
    changes = ("trainer.max_steps=6", "scheduler=null")
    train(*changes, model=model, callbacks=[globbed("model/*0.0.*", unfreeze_at=3)], spy=watch.spy)
    assert watch.modes[1:] == [False] * 3 + [True] * 3


def test_schedule_with_nothing_to_train_is_refused(train: Callable[..., RunResult]) -> None:
    parts = {"model/*0.*": {"freeze_at": 7}, "model/*2.*": {"freeze_at": 4}}
    with pytest.raises(UserError, match="every parameter is frozen after 7 steps"):
        train(callbacks=[{"_type_": "freeze_schedule", "parts": parts}])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "modell",
            "'modell' matches no parameter; did you mean 'model'? (the components are model)",
        ),
        ("head/*", "matches no parameter; write a component or a glob of component/parameter"),
    ],
)
def test_entry_that_matches_nothing_is_refused(
    train: Callable[..., RunResult], pattern: str, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        train(callbacks=[globbed(pattern, unfreeze_at=5)])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "parts names nothing"),
        ({"a": {}}, "parts.a needs freeze_at, unfreeze_at or both"),
        ({"a": 5}, "parts.a needs freeze_at, unfreeze_at or both; got 5"),
        ({"a": {"unfreeze": 5}}, "not 'unfreeze'; did you mean 'unfreeze_at' or"),
        ({"a": {"unfreeze_at": -1}}, "steps are whole numbers from 0"),
        ({"a": {"unfreeze_at": True}}, "steps are whole numbers from 0"),
        ({"a": {"unfreeze_at": 3, "freeze_at": 3}}, "at the same step 3"),
    ],
)
def test_wrong_entry_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        FreezeSchedule(parts)


def test_ddp_must_not_wait_for_frozen_parameters() -> None:
    schedule = FreezeSchedule({"a": {"unfreeze_at": 3}})
    config = SimpleNamespace(runner={"_type_": "runner.ddp"})
    with pytest.raises(ConfigError, match="freeze_schedule needs 'find_unused_parameters: true'"):
        schedule.trainer_configure(config, {"world_size": 2})  # type: ignore[arg-type] # a stand-in
    schedule.trainer_configure(config, {"world_size": 1})  # type: ignore[arg-type] # a stand-in
