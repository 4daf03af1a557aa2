"""An exported policy acts as the trained one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from experiments_il import load_policy
from trainer_core.cli import main
from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SMALL = ["params.demonstrations=2", "trainer.max_steps=2", "data.batch_size=8", "evaluation=null"]


def test_exported_recipe_acts_as_its_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = [*SMALL, "callbacks=[]", "run.out_dir=out", "data.root=demonstrations"]
    experiment = build_experiment(load_experiment("il/reach", changes), LocalRanks())
    fit(experiment, tmp_path / "out")
    assert main(["ckpt", "export", "out", "policy"]) == 0
    trained = experiment.trainer.policy(experiment.normalizer)
    experiment.models.eval()
    observation = {"observation.state": torch.randn(3, trained.chunk.n_obs_steps, 39)}
    noise = torch.randn(3, trained.horizon, trained.action_dim)
    chunks = load_policy("policy").act(observation, noise=noise)
    assert torch.equal(chunks, trained.act(observation, noise=noise))
