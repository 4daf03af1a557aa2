"""Rollouts act with the trained weights or, by choice, with those that an evaluation measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

import trainer_core
from trainer_core.callbacks.ema import EMA
from trainer_core.checkpoint.reader import newest_valid
from trainer_core.engine.trained import build_acting, load_trained
from trainer_core.experiment.loading import load_experiment
from trainer_core.trainers import DefaultTrainer
from trainer_ray.online.packed_weights import load_weights
from trainer_ray.online.policy_state import PolicyStateManager

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

AVERAGED = {"_type_": "ema", "decay": 0.9, "warmup": False}
SCHEDULE_FREE = {"_type_": "schedule_free_radam", "lr": 0.05}


class Watcher:
    """Keeps the first weight and its average before each step, and what was played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.weights: set[float] = set()
        self.averages: set[float] = set()
        self.played: set[float] = set()
        losses, begin = DefaultTrainer.compute_losses, EMA.__init__
        made: list[Any] = []

        def compute(trainer: Any, batch: Any, step: Any) -> Any:
            if step.training:
                self.weights.add(first(trainer.models.parameters()))
                self.averages.add(first(made[-1].averages.values()))
                self.played |= set((batch["x"][batch["index"] < 0] * 2).flatten().tolist())
            return losses(trainer, batch, step)

        def keep(callback: Any, *arguments: Any, **options: Any) -> None:
            begin(callback, *arguments, **options)
            made.append(callback)

        monkeypatch.setattr(DefaultTrainer, "compute_losses", compute)
        monkeypatch.setattr(EMA, "__init__", keep)


def first(tensors: Iterable[torch.Tensor]) -> float:
    return float(next(iter(tensors)).detach().flatten()[0])


def restored(run: Path, file: Path, *, averaged: bool) -> torch.nn.ModuleDict:
    """Return models with the weights that a manager takes from a run's newest checkpoint."""
    manager = PolicyStateManager(str(run / "checkpoints"), averaged=averaged)
    assert manager.restore()
    newest = manager.newest(-1)
    assert newest is not None
    models = build_acting(load_experiment(file).resolved, {}).models
    load_weights(models, newest["layers"])
    return models


def test_rollouts_act_with_averages_bit_for_bit_also_in_a_run_that_goes_on(
    joined: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    joined["callbacks"].append(AVERAGED)
    joined["runner"] |= {"rollout": {"pause_s": 0.01}, "min_frames": 8}
    joined["runner"]["acting_weights"] = "averaged"
    joined["evaluation"]["every"] = 0
    joined["trainer"]["max_steps"] = 300
    watcher = Watcher(monkeypatch)
    trainer_core.run(joined, ["trainer.max_steps=200"])
    trainer_core.run(joined, ["run.allow=[schedule]"])
    assert len(watcher.played) > 2
    assert watcher.played <= watcher.averages
    assert len(watcher.played & watcher.weights) <= 1  # both begin with the same


@pytest.mark.parametrize("optimizer", ["AdamW", "schedule-free"])
def test_publishing_averages_leaves_the_training_as_it_is_bit_for_bit(
    joined: dict[str, Any], tmp_path: Path, optimizer: str
) -> None:
    if optimizer == "schedule-free":
        joined["optimizer"] = SCHEDULE_FREE
    else:
        joined["callbacks"].append(AVERAGED)
    joined["runner"] |= {"offline_steps": 50, "target_success": 0.3, "publish_every": 1}
    joined["runner"]["acting_weights"] = "averaged"
    found = []
    for folder, runner, steps in (("run", "ray_online", 60), ("local", "local", 30)):
        joined["run"]["out_dir"] = str(tmp_path / folder)
        result = trainer_core.run(joined, [f"trainer.max_steps={steps}"], runner=runner)
        checkpoint = newest_valid(tmp_path / folder / "checkpoints")
        assert checkpoint is not None
        assert (result.step, checkpoint.step) == (30, 30)
        files = [file for file in checkpoint.names("") if file.endswith(".safetensors")]
        found.append({file: checkpoint.read_tensors(file) for file in files})
    assert found[0].keys() == found[1].keys()
    for file, tensors in found[0].items():
        assert all(torch.equal(tensor, found[1][file][name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("way", ["ema", "schedule-free", "trained"])
def test_a_restarted_manager_takes_averages_of_the_checkpoint_only_where_these_act(
    joined: dict[str, Any], program: None, tmp_path: Path, way: str
) -> None:
    if way == "ema":
        joined["callbacks"].append(AVERAGED)
    if way == "schedule-free":
        joined["optimizer"] = SCHEDULE_FREE
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(joined))
    trainer_core.run(joined, runner="local")
    checkpoint = newest_valid(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    measured = load_trained(checkpoint).models.state_dict()
    trained = checkpoint.read_tensors("model.model.safetensors")
    for averaged in (True, False):
        found = restored(tmp_path / "run", file, averaged=averaged).state_dict()
        is_measured = all(torch.equal(found[name], measured[name]) for name in measured)
        is_trained = all(torch.equal(found[f"model.{name}"], trained[name]) for name in trained)
        assert is_measured is (averaged or way == "trained")
        assert is_trained is (not averaged or way == "trained")


def test_rollouts_act_with_trained_weights_unless_averages_are_wanted(
    joined: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    joined["callbacks"].append(AVERAGED)
    joined["runner"] |= {"rollout": {"pause_s": 0.01}, "min_frames": 8}
    joined["evaluation"]["every"] = 0
    joined["trainer"]["max_steps"] = 200
    watcher = Watcher(monkeypatch)
    trainer_core.run(joined)
    assert len(watcher.played) > 1
    assert watcher.played <= watcher.weights
