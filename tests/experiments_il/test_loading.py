"""A run, a checkpoint and an export act with the weights that an evaluation measures."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from experiments_il import load_policy
from experiments_il.loading import find_policy, open_policy
from experiments_il.policy import FlowMatchingPolicy
from policy_constructor.errors import ConfigError
from trainer_core.cli import main
from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.errors import CheckpointError, UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from experiments_il.policy import Policy
    from trainer_core.protocols import EvaluationContext

STATE = "observation.state"
SHAPE = (3, 1, 39)


def acts(policy: Policy) -> Tensor:
    """Return the chunks of a fixed observation and fixed noise."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, *policy.noise_shape, generator=generator)
    return policy.act({STATE: torch.randn(SHAPE, generator=generator)}, noise=noise)


def train(file: Path, out: Path, *changes: str) -> Tensor:
    """Train 8 steps and return what the policy does in an evaluation."""
    loaded = load_experiment(file, [f"run.out_dir={out}", *changes])
    experiment = build_experiment(loaded, LocalRanks())
    found = {}

    class Measured:
        def evaluate(self, context: EvaluationContext) -> dict[str, float]:
            found["chunks"] = acts(context.trainer.policy(context.normalizer))
            return {}

    experiment.evaluator = Measured()
    fit(experiment, out)
    return found["chunks"]


@pytest.fixture(scope="module")
def averaging_run(
    experiment_of_states: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Tensor]:
    """Return a run with averaged weights, and what its own evaluation saw."""
    out = tmp_path_factory.mktemp("loading") / "run"
    return out, train(experiment_of_states, out)


def test_run_acts_as_its_own_evaluation(averaging_run: tuple[Path, Tensor]) -> None:
    out, chunks = averaging_run
    assert torch.equal(acts(load_policy(out)), chunks)
    assert open_policy(find_policy(out)).weights == "ema"


def test_checkpoint_folder_acts_as_its_run(averaging_run: tuple[Path, Tensor]) -> None:
    out, chunks = averaging_run
    assert torch.equal(acts(load_policy(out / "checkpoints" / "step-000000008")), chunks)


def test_export_acts_as_its_run(averaging_run: tuple[Path, Tensor], tmp_path: Path) -> None:
    out, chunks = averaging_run
    assert main(["ckpt", "export", str(out), str(tmp_path / "policy")]) == 0
    assert torch.equal(acts(load_policy(tmp_path / "policy")), chunks)


def test_step_after_at_sign_chooses_a_checkpoint(averaging_run: tuple[Path, Tensor]) -> None:
    loaded = open_policy(find_policy(f"{averaging_run[0]}@8"))
    assert (loaded.step, loaded.source.run) == (8, averaging_run[0])


def test_unknown_step_lists_those_there(averaging_run: tuple[Path, Tensor]) -> None:
    out = averaging_run[0]
    with pytest.raises(CheckpointError) as caught:
        load_policy(out, checkpoint=7)
    expected = f"there is no checkpoint {out}/checkpoints/step-000000007; there are steps 8"
    assert str(caught.value) == expected


def test_best_is_told_apart_from_a_misspelling(averaging_run: tuple[Path, Tensor]) -> None:
    with pytest.raises(UserError) as caught:
        load_policy(f"{averaging_run[0]}@bets")
    said = "there is no checkpoint 'bets'; say newest, best or a step; did you mean 'best'?"
    assert str(caught.value) == said


def test_weights_averaged_by_the_optimizer_are_used(
    experiment_of_states: Path, tmp_path: Path
) -> None:
    radam = ["optimizer._type_=schedule_free_radam", "optimizer.lr=0.003"]
    chunks = train(experiment_of_states, tmp_path / "run", "callbacks=[]", *radam)
    loaded = open_policy(find_policy(tmp_path / "run"))
    assert loaded.weights == "averaged"
    assert torch.equal(acts(loaded.policy), chunks)


def test_parameters_of_the_sampler_can_be_changed(averaging_run: tuple[Path, Tensor]) -> None:
    changes = {"num_inference_steps": 3, "solver": "heun"}
    policy = load_policy(averaging_run[0], parameters=changes)
    assert isinstance(policy, FlowMatchingPolicy)
    assert policy.evaluations == 6


def test_flipped_byte_is_refused(averaging_run: tuple[Path, Tensor], tmp_path: Path) -> None:
    folder = tmp_path / "step-000000008"
    shutil.copytree(averaging_run[0] / "checkpoints" / "step-000000008", folder)
    file = folder / "ema.action_decoder.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CheckpointError) as caught:
        load_policy(folder)
    assert str(caught.value) == f"{file} is corrupt: its sha256 is not the one in its manifest"


def test_run_without_whole_checkpoint_says_why(
    averaging_run: tuple[Path, Tensor], tmp_path: Path
) -> None:
    root = tmp_path / "run" / "checkpoints"
    shutil.copytree(averaging_run[0] / "checkpoints" / "step-000000008", root / "step-000000008")
    (root / "step-000000008" / "norm_stats.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        load_policy(tmp_path / "run")
    missing = root / "step-000000008" / "norm_stats.json"
    assert str(caught.value) == f"no checkpoint in {root} is whole:\n  {missing} is missing"


def test_foreign_folder_says_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError) as caught:
        load_policy(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is neither a run with checkpoints (checkpoints/step-*), nor a checkpoint "
        "(MANIFEST.json), nor an exported policy (policy.json)"
    )


def test_exported_program_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "program.json").write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        load_policy(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is an exported program, which trainer serve runs; give the run or the "
        "checkpoint that it was made from"
    )


def test_damaged_export_is_told_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(ConfigError) as caught:
        load_policy(tmp_path)
    assert f"{tmp_path} is no exported policy: policy.json cannot be read" in str(caught.value)


def test_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "pick_place").mkdir()
    with pytest.raises(CheckpointError) as caught:
        load_policy(tmp_path / "pick_plase")
    said = f"there is no folder {tmp_path}/pick_plase; did you mean '{tmp_path}/pick_place'?"
    assert str(caught.value) == said


def test_export_holds_what_an_optimizer_averages(
    experiment_of_states: Path, tmp_path: Path
) -> None:
    radam = ["optimizer._type_=schedule_free_radam", "optimizer.lr=0.003"]
    chunks = train(experiment_of_states, tmp_path / "run", "callbacks=[]", *radam)
    assert main(["ckpt", "export", str(tmp_path / "run"), str(tmp_path / "policy")]) == 0
    loaded = open_policy(find_policy(tmp_path / "policy"))
    assert loaded.weights == "averaged"
    assert torch.equal(acts(loaded.policy), chunks)


def test_export_of_stacked_experts_holds_their_averages(
    experiment_of_states: Path, tmp_path: Path
) -> None:
    decoder = "_type_: mlp_expert_decoder, action_dim: 4, horizon: 8, experts: 2, memory_tokens: 2"
    latent = "latent_dim: 2, memory_width: 16, width: 16"
    chunks = train(
        experiment_of_states,
        tmp_path / "run",
        "trainer._type_=variational_flow_matching_policy_trainer",
        "trainer.max_steps=2",
        "trainer.n_action_steps=4",
        "loss=null",
        f"models.action_decoder={{_merge_: replace, {decoder}, memory_width: 16, width: 16}}",
        f"models.posterior={{_type_: gaussian_posterior, action_dim: 4, horizon: 8, {latent}}}",
        f"models.prior={{_type_: gaussian_prior, {latent}}}",
        f"models.gate={{_type_: expert_gate, experts: 2, {latent}}}",
        "models.latent_embedder={_type_: latent_embedder, latent_dim: 2, width: 16}",
    )
    assert main(["ckpt", "export", str(tmp_path / "run"), str(tmp_path / "policy")]) == 0
    assert torch.equal(acts(load_policy(tmp_path / "run")), chunks)
    assert torch.equal(acts(load_policy(tmp_path / "policy")), chunks)


def test_trainer_without_policy_is_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = {
        "run": {"name": "regression", "out_dir": str(out)},
        "model": {"_type_": "nn.Linear", "in_features": 8, "out_features": 1},
        "data": {
            "_type_": "data.random_regression",
            "x_shape": [8],
            "y_shape": [1],
            "batch_size": 8,
        },
        "io": {
            "_type_": "io.mapping",
            "model_kwargs": {"input": ["x"]},
            "targets": {"target": ["y"]},
        },
        "loss": {"_type_": "loss.torch", "fn": {"_type_": "nn.MSELoss"}},
        "optimizer": {"_type_": "optim_cls.SGD", "lr": 0.1},
        "trainer": {"_type_": "trainer.default", "max_steps": 1},
        "loggers": [],
    }
    fit(build_experiment(load_experiment(config), LocalRanks()), out)
    with pytest.raises(UserError) as caught:
        load_policy(out)
    folder = out / "checkpoints" / "step-000000001"
    said = f"{folder} was trained with trainer.default, which has no policy(normalizer)"
    assert str(caught.value) == said
