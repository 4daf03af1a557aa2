"""Every recipe goes on exactly: cut by a signal, saved beside the training, in any loader."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import experiments_il.recipes
from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.experiment.loading import load_experiment
from trainer_core.hookspecs import hookimpl
from trainer_core.ranks import LocalRanks

FOLDER = Path(experiments_il.recipes.__file__).parent
LARGE = {path.stem.removesuffix("_small") for path in FOLDER.glob("*_small.yaml")}
SAME = {"naive_flow_matching_small"}  # another name of pick_place
RECIPES = [
    f"il/{path.stem}" for path in sorted(FOLDER.glob("*.yaml")) if path.stem not in LARGE | SAME
]
OWN = {
    "il/cfg_vqvae_small": ["loss.group=4"],
    "il/vfp_small": ["loss.group=4", "trainer.load_balance_weight=0"],
}
STEPS = 6
SMALL = [
    "params.demonstrations=2",
    "data.batch_size=8",
    "data.root=demonstrations",
    "evaluation=null",
    "run.threads=1",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=2",
    "trainer.grad_accum_steps=2",
    "+callbacks=[{_type_: model_checkpoint, every_n_steps: 1, keep_last: 9}]",
]


class CutInMicroBatch:
    """Sends the signal while the losses of a step's second micro-batch are computed."""

    def __init__(self, trainer: Any, step: int) -> None:
        self.compute, self.step, self.calls = trainer.compute_losses, step, 0

    def __call__(self, batch: Any, context: Any) -> Any:
        self.calls += 1
        if self.calls == 2 * self.step:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.compute(batch, context)


class Samples:
    """Notes what each step reports, as numbers."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    @hookimpl
    def trainer_step_end(self, logs: Any) -> None:
        self.seen.append({name: float(value) for name, value in logs.items()})


def train(recipe: str, out: str, workers: int, cut: int = 0) -> tuple[str, list[dict[str, float]]]:
    changes = [*SMALL, *OWN.get(recipe, []), f"run.out_dir={out}", f"data.num_workers={workers}"]
    experiment = build_experiment(load_experiment(recipe, changes), LocalRanks())
    if cut:
        trainer = experiment.trainer
        trainer.compute_losses = CutInMicroBatch(trainer, cut)
    samples = Samples()
    experiment.hooks._manager.register(samples)
    result = fit(experiment, Path(out), resume="auto")
    return result.status, samples.seen


def state_of(out: str) -> dict[str, Any]:
    folder = Path(out) / "checkpoints" / f"step-{STEPS:09d}"
    state: dict[str, Any] = {
        f"{file.name}/{name}": tensor
        for file in sorted(folder.glob("**/*.safetensors"))
        for name, tensor in load_file(file).items()
    }
    document = json.loads((folder / "state.json").read_text())
    return {"tensors": state, "samples": document["samples"], "schedules": document["schedules"]}


def require_exact_resume(recipe: str, workers: int, cuts: list[int]) -> None:
    train(recipe, "whole", workers=0)
    whole = state_of("whole")
    seen: list[dict[str, float]] = []
    for cut in cuts:
        status, metrics = train(recipe, "cut", workers, cut=cut - len(seen))
        assert status == "interrupted"
        seen += metrics
    seen += train(recipe, "cut", workers)[1]
    cut_state = state_of("cut")
    assert seen == train(recipe, "again", workers=0)[1]
    assert cut_state["tensors"].keys() == whole["tensors"].keys()
    differing = [
        n for n, t in whole["tensors"].items() if not torch.equal(t, cut_state["tensors"][n])
    ]
    assert differing == []
    assert (cut_state["samples"], cut_state["schedules"]) == (whole["samples"], whole["schedules"])


def test_recipe_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    require_exact_resume("il/reach", workers=0, cuts=[3])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_goes_on_exactly(
    recipe: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    require_exact_resume(recipe, workers, cuts=[2, 5])
