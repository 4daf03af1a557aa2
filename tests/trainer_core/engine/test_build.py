from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from policy_constructor.errors import ConfigError
from trainer_core.engine.build import build_experiment
from trainer_core.errors import DatasetError, UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.engine.built import Experiment

    Build = Callable[..., Experiment]


@pytest.fixture
def build(tiny: dict[str, Any], acme: None) -> Build:
    def make(*changes: str, **sections: Any) -> Experiment:
        config = {key: value for key, value in (tiny | sections).items() if value is not None}
        return build_experiment(load_experiment(config, changes), LocalRanks())

    return make


def weights(experiment: Experiment, name: str = "model") -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in experiment.models[name].parameters()])


LINEAR = {"_type_": "nn.Linear", "in_features": 3, "out_features": 2}


def test_weights_depend_on_the_seed_and_the_name(build: Build) -> None:
    torch.rand(3)
    assert torch.equal(weights(build()), weights(build()))
    assert not torch.equal(weights(build()), weights(build("run.seed=1")))


def test_components_have_their_own_optimizers(build: Build) -> None:
    models = {
        "a": LINEAR,
        "b": LINEAR | {"optimizer": {"_type_": "optim_cls.SGD", "lr": 0.5}},
        "c": LINEAR | {"freeze": True},
        "d": LINEAR,
    }
    experiment = build(
        model=None,
        models=models,
        io=None,
        trainer={"_type_": "plain", "max_steps": 1},
        scheduler=None,
    )
    names = {
        key: [group["name"] for group in optimizer.param_groups]
        for key, optimizer in experiment.optimizers.items()
    }
    assert names == {"default": ["a", "d"], "b": ["b"]}
    assert type(experiment.optimizers["b"]) is torch.optim.SGD
    assert not experiment.models["c"].training


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [({"max_steps": 7}, 7), ({"max_epochs": 2.0}, 11), ({"max_epochs": 0.01}, 1)],
)
def test_length_of_the_run_is_steps(build: Build, trainer: dict[str, Any], steps: int) -> None:
    assert build(trainer={"_type_": "default", **trainer}).total_steps == steps
    assert math.ceil(2 * 22 / 4) == 11


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["trainer.grad_accum_steps=3"],
            "a batch of 4 cannot be cut into 1 ranks times 3 micro-batches; 3 or 6 can",
        ),
        (["trainer.val_every_n_steps=2"], "data.random_regression returned no validation split"),
        (
            ["trainer.grad_clip_norm={modle: 1.0}", "model.freeze=false"],
            "trainer.grad_clip_norm.modle: there is no component 'modle'",
        ),
        (["optimizer.kwargs={lr: -1}"], "optimizer: AdamW: Invalid learning rate: -1"),
        (
            ["+callbacks=[{_type_: ema, decay: 2}]"],
            "callbacks.0.decay: expected a number >= 0 and < 1, found 2",
        ),
        (
            ["trainer={_type_: plain, max_steps: 3, grad_clip_norm: 1.0, _merge_: replace}"],
            (
                "trainer.grad_clip_norm: trainer.plain owns its whole step and does not honour "
                "'grad_clip_norm'; remove it, or extend trainer_core.LossTrainer"
            ),
        ),
    ],
)
def test_what_cannot_be_built_is_explained(build: Build, changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(*changes)
    assert message in str(caught.value)


def test_refused_value_has_its_place(build: Build) -> None:
    with pytest.raises(ConfigError) as caught:
        build("optimizer={_type_: optim_cls.SGD, lr: -1, _merge_: replace}")
    assert str(caught.value).startswith("<cli>:1:11: error: optimizer: optim_cls.SGD: Invalid")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "the data set of data.empty is empty"),
        ("wrong", "data.wrong.build must return a 'dataset' with a length; it returned ['data']"),
    ],
)
def test_unusable_data_is_named(build: Build, name: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        build(data={"_type_": name, "batch_size": 2})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (
            {
                "data": {"_type_": "random_regression", "x_shape": [9], "y_shape": [2]},
                "model": {"sequential": {"layers": [{"_type_": "nn.Tanh"}, LINEAR]}},
            },
            "    x: float32 [4, 9]\n    y: float32 [4, 2]",
        ),
        (
            {
                "data": {"_type_": "shifted"},
                "io": {"_type_": "mapping", "model_kwargs": {"x": ["X"]}, "targets": {"y": ["y"]}},
            },
            "no key 'X'; there are ['",
        ),
    ],
)
def test_data_that_does_not_fit_shows_the_batch(
    build: Build, sections: dict[str, Any], reason: str
) -> None:
    if "data" in sections:
        sections["data"]["batch_size"] = 4
    with pytest.raises(DatasetError) as caught:
        build(**sections)
    assert str(caught.value).startswith("the data does not fit the model: ")
    assert reason in str(caught.value)


def test_trying_a_batch_changes_nothing(build: Build) -> None:
    layers = [LINEAR, {"_type_": "nn.BatchNorm1d", "num_features": 2}]
    experiment = build(model={"sequential": {"layers": layers}})
    buffers = dict(experiment.models.named_buffers())
    assert not any(t.any() for name, t in buffers.items() if name.endswith("running_mean"))
    assert experiment.models["model"].training


def test_own_schedule_and_section_exclude_each_other(build: Build) -> None:
    optimizer = {"_type_": "adamw_warmup_cosine_decay", "peak_lr": 1e-3}
    with pytest.raises(ConfigError, match="the optimizer brings its own schedule"):
        build(optimizer=optimizer)
    schedules = build(optimizer=optimizer, scheduler=None).schedules
    assert schedules["default"].interval == "step"


def test_component_cannot_have_the_name_of_a_method(build: Build) -> None:
    with pytest.raises(ConfigError, match="'keys' is taken by a method of torch's ModuleDict"):
        build(
            model=None,
            models={"keys": LINEAR},
            io=None,
            trainer={"_type_": "plain", "max_steps": 1},
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["loss.fn={_type_: nn.L1Loss, reduction: men}"], "men is not a valid value for reduction"),
        (["loss.fn={_type_: nn.GaussianNLLLoss}"], "missing 1 required positional argument: 'var'"),
    ],
)
def test_refused_first_batch_is_the_users_mistake(
    build: Build, changes: list[str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        build(*changes)
    assert str(caught.value).startswith("the loss of the first batch is refused: ")
    assert message in str(caught.value)


def test_loss_of_another_dtype_shows_the_batch(build: Build) -> None:
    with pytest.raises(DatasetError, match=r"the data does not fit the model: .*target dtype"):
        build("loss.fn={_type_: nn.NLLLoss}", "data.y_shape=[]")


def test_indices_that_are_floats_show_the_batch(build: Build) -> None:
    words = {"_type_": "nn.Embedding", "num_embeddings": 3, "embedding_dim": 2}
    with pytest.raises(DatasetError, match="the data does not fit the model: Expected tensor for"):
        build(model={"sequential": {"layers": [words]}})


def test_batch_beyond_memory_names_its_key(build: Build) -> None:
    endless = {"_type_": "nn.ConstantPad1d", "padding": [10**13, 0], "value": 0.0}
    with pytest.raises(UserError) as caught:
        build(model={"sequential": {"layers": [LINEAR, endless]}})
    assert str(caught.value) == (
        "a batch of 4 samples does not fit into memory; lower data.batch_size"
    )
