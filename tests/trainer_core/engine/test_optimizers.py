from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from policy_constructor.errors import ConfigError
from trainer_core.engine.build import build_experiment
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.engine.built import Experiment

    Build = Callable[..., Experiment]

ADAMW = {"_type_": "optim_cls.AdamW", "lr": 0.01, "weight_decay": 0.5}
LINEAR = {"_type_": "nn.Linear", "in_features": 3, "out_features": 2}


@pytest.fixture
def build(tiny: dict[str, Any], acme: None) -> Build:
    def make(optimizer: dict[str, Any], **sections: Any) -> Experiment:
        config = tiny | {"optimizer": optimizer, "scheduler": None} | sections
        config = {key: value for key, value in config.items() if value is not None}
        return build_experiment(load_experiment(config), LocalRanks())

    return make


def several(**models: Any) -> dict[str, Any]:
    return {
        "model": None,
        "io": None,
        "models": models,
        "trainer": {"_type_": "plain", "max_steps": 10},
    }


def groups_of(optimizer: torch.optim.Optimizer) -> list[tuple[str, float, int]]:
    return [(g["name"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups]


def test_first_matching_group_has_a_parameter(build: Build) -> None:
    rules = [{"match": "*.bias", "weight_decay": 0.0}, {"match": "model/*2.*", "lr": 1e-4}]
    optimizer = build(ADAMW | {"groups": rules}).optimizers["default"]
    assert groups_of(optimizer) == [
        ("model", 0.5, 1),
        ("model:*.bias", 0.0, 2),
        ("model:model/*2.*", 0.5, 1),
    ]
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.01, 1e-4]


def test_flat_parameters_are_not_decayed_on_request(build: Build) -> None:
    experiment = build(ADAMW | {"no_decay": "norm_and_bias"})
    optimizer = experiment.optimizers["default"]
    assert groups_of(optimizer) == [("model", 0.5, 2), ("model:no_decay", 0.0, 2)]
    before = {n: p.detach().clone() for n, p in experiment.models.named_parameters()}
    for parameter in experiment.models.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in experiment.models.named_parameters():
        factor = 1.0 if parameter.ndim < 2 else 1 - 0.01 * 0.5  # what decoupled decay leaves
        assert torch.allclose(parameter, before[name] * factor)


def test_groups_work_with_a_factory_and_its_own_schedule(build: Build) -> None:
    factory = {"_type_": "adamw_warmup_cosine_decay", "peak_lr": 1e-2, "warmup_steps": 2}
    rules = [{"match": "*.bias", "peak_lr": 1e-3}]
    optimizer = build(factory | {"groups": rules}).optimizers["default"]
    assert [group["initial_lr"] for group in optimizer.param_groups] == [1e-2, 1e-3]


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            ADAMW | {"groups": [{"match": "model/2.bais", "lr": 0.1}]},
            "optimizer.groups.0.match: 'model/2.bais' matches no trained parameter",
        ),
        (
            ADAMW | {"groups": [{"match": "*", "wieght_decay": 0.1}]},
            "optimizer.groups.0.wieght_decay: optim_cls.AdamW has no setting 'wieght_decay'",
        ),
        (
            {"_type_": "optim_cls.Rprop", "no_decay": "norm_and_bias"},
            "optimizer.no_decay: optim_cls.Rprop has no 'weight_decay'; remove this key",
        ),
        (ADAMW | {"groups": [{"lr": 0.1}]}, "optimizer.groups.0 needs 'match'"),
        (
            ADAMW | {"no_decay": True},
            "optimizer.no_decay: expected one of 'norm_and_bias', found true",
        ),
        (
            {"_type_": "adamw_warmup_cosine_decay", "warmup_steps": 9, "total_steps": 5},
            (
                "optimizer.warmup_steps: warmup_steps must be at least 0 and below the number of "
                "steps (5), got 9"
            ),
        ),
        (
            {"_type_": "adamw_warmup_cosine_decay", "warmup_steps": 99},
            (
                "optimizer.warmup_steps: warmup_steps must be at least 0 and below the number of "
                "steps (13), got 99"
            ),
        ),
    ],
)
def test_wrong_groups_have_their_place(
    build: Build, optimizer: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(optimizer)
    assert message in str(caught.value)


def test_component_has_its_own_schedule(build: Build) -> None:
    step = {"_type_": "sched_cls.StepLR", "step_size": 1, "gamma": 0.5}
    experiment = build(ADAMW, **several(a=LINEAR, b=LINEAR | {"scheduler": step}, c=LINEAR))
    assert list(experiment.optimizers) == ["default", "b"]
    assert list(experiment.schedules) == ["b"]
    handle = experiment.schedules["b"]
    experiment.optimizers["b"].step()
    handle.scheduler.step()
    assert experiment.optimizers["b"].param_groups[0]["lr"] == 0.005


def test_schedule_of_a_component_is_checked(build: Build) -> None:
    plateau = {"_type_": "torch", "type": "ReduceLROnPlateau", "interval": "metric"}
    with pytest.raises(ConfigError, match=r"models.b.scheduler.interval: .* needs 'monitor'"):
        build(ADAMW, **several(a=LINEAR, b=LINEAR | {"scheduler": plateau}))
    brings = {"_type_": "adamw_warmup_cosine_decay"}
    own = {"_type_": "sched_cls.StepLR", "step_size": 1}
    with pytest.raises(ConfigError, match=r"models.b.scheduler: the optimizer brings its own"):
        build(brings, **several(a=LINEAR, b=LINEAR | {"scheduler": own}))


def test_groups_are_part_of_what_a_resumed_run_compares(train: Any, tmp_path: Any) -> None:
    rules = [{"match": "*.bias", "weight_decay": 0.0}]
    train(optimizer=ADAMW | {"groups": rules})
    assert train(optimizer=ADAMW | {"groups": rules}).status == "completed"
    with pytest.raises(Exception, match=r"optimizer\.groups was"):
        train(optimizer=ADAMW)


def test_schedule_of_a_frozen_component_is_pointed_out(tiny: dict[str, Any]) -> None:
    own = {"_type_": "sched_cls.StepLR", "step_size": 1}
    models = {"a": LINEAR, "b": LINEAR | {"freeze": True, "scheduler": own}}
    config = {key: value for key, value in tiny.items() if key not in {"model", "io"}}
    loaded = load_experiment(config | {"models": models}, strict=False)
    said = [warning.message for warning in loaded.warnings]
    assert "models.b is frozen, its scheduler is not used" in said
