"""Recipes: found by name, valid as shipped, and built from model files that fit together."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import experiments_il.recipes
from experiments_il.commands.data import main as data_command
from experiments_il.loading import find_policy, open_policy
from experiments_il.losses import L2
from experiments_il.trainers.naive_flow_matching import NaiveFlowMatchingPolicyTrainer
from policy_constructor import build_model
from trainer_core.experiment.loading import LoadedExperiment, load_experiment
from trainer_core.instantiate import instantiate, load_component
from trainer_core.normalize import Normalizer
from trainer_core.run import run

FOLDER = Path(experiments_il.recipes.__file__).parent
LARGE = {path.stem.removesuffix("_small") for path in FOLDER.glob("*_small.yaml")}
RECIPES = [f"il/{path.stem}" for path in sorted(FOLDER.glob("*.yaml")) if path.stem not in LARGE]
TOYS = [name for name in RECIPES if name.startswith("il/toy_")]
IMAGES = "il/button_press_images_small"
ONLINE = "il/peg_insert_online"
SAME = "il/naive_flow_matching_small"  # another name of il/pick_place
POLICIES = [name for name in RECIPES if name not in {"il/mutual_information_small", SAME, *TOYS}]
MODELS = sorted(FOLDER.glob("models/*.yaml"))


def build_components(experiment: LoadedExperiment) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            name: build_model(plan.resolved, section=plan.section)
            for name, plan in experiment.models.items()
        }
    )


def test_every_recipe_is_shipped() -> None:
    small = [
        "button_press_images_small",
        "cfg_vqvae_small",
        "mutual_information_small",
        "naive_flow_matching_small",
        "peg_insert_online",
        "pick_place",
        "reach",
        "regression_small",
        "toy_cfg_vqvae_small",
        "toy_flow_matching_small",
        "toy_vfp_small",
        "two_ways_small",
        "vfp_single_expert_depth_small",
        "vfp_single_expert_small",
        "vfp_small",
    ]
    assert [f"il/{name}" for name in small] == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_has_no_problem(name: str) -> None:
    assert load_experiment(name).problems == []


def test_small_flow_matching_is_the_recipe_of_the_tutorial() -> None:
    assert load_experiment(SAME).resolved.data == load_experiment("il/pick_place").resolved.data


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_model_file_builds_alone(path: Path) -> None:
    model = build_model(path)
    assert sum(p.numel() for p in model.parameters()) > 0 or path.stem == "standard_prior"


@pytest.mark.parametrize("name", [name for name in POLICIES if name != IMAGES])
def test_components_make_a_policy(name: str) -> None:
    experiment = load_experiment(name)
    settings = dict(experiment.config.trainer.component)
    trainer_class = load_component(settings.pop("_type_"), experiment.plugins, kind="trainer")
    assert experiment.config.loss is not None
    loss = instantiate(experiment.config.loss, experiment.plugins, kind="loss").build()
    trainer = trainer_class(build_components(experiment), {}, loss, "cpu", **settings)
    chunk = trainer.policy(Normalizer({})).act({"observation.state": torch.zeros(2, 1, 39)})
    assert chunk.shape[::2] == (2, 4)


def test_decoders_are_interchangeable() -> None:
    decoder = "models.action_decoder.config=il/models/transformer_action_decoder"
    experiment = load_experiment("il/pick_place", [decoder])
    trainer = NaiveFlowMatchingPolicyTrainer(build_components(experiment), {}, L2(), "cpu")
    assert trainer.decoder.horizon == 8


@pytest.mark.parametrize("name", POLICIES)
def test_recipe_runs_two_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["params.demonstrations=2", "trainer.max_steps=2", "data.batch_size=8"]
    short = ["evaluation.episodes=2", "evaluation.max_steps=4", "evaluation.video_episodes=0"]
    if name in {"il/cfg_vqvae_small", "il/two_ways_small", "il/vfp_small"}:
        small.append("loss.group=8")
    if name == ONLINE:
        small.append("~runner")  # that is for tests of trainer-ray
    if name == IMAGES:
        small += ["params.demonstrations=1", "params.image_size=[16,16]", "evaluation.num_envs=1"]
    result = run(name, [*small, *short, "run.out_dir=out", "data.root=demonstrations"])
    assert (result.status, result.step) == ("completed", 2)
    assert result.evaluation["n"] == 2
    assert len(list(tmp_path.glob("out/evaluation/*/episodes.jsonl"))) == 1


@pytest.mark.parametrize("modes", [2, 4])
@pytest.mark.parametrize("name", TOYS)
def test_toy_recipe_runs_two_steps(
    name: str, modes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["trainer.max_steps=2", "data.batch_size=8", "data.size=16", "evaluation.samples=4"]
    result = run(name, [*small, f"params.modes={modes}", "run.out_dir=out"])
    assert (result.status, result.step) == ("completed", 2)
    assert len(list(tmp_path.glob("out/evaluation/*/modes.json"))) == 1
    assert open_policy(find_policy("out")).weights == "ema"


def test_autoencoder_recipe_runs_and_ranks_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["params.demonstrations=2", "trainer.max_steps=2", "data.batch_size=8"]
    result = run("il/mutual_information_small", [*small, "run.out_dir=out"])
    assert (result.status, result.step) == ("completed", 2)
    assert data_command(["score", "out", "--keep", "0.5"]) == 0
    assert "1 of 2 episodes to keep" in capsys.readouterr().out
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert [each["episode"] for each in scores["episodes"]][:1] == scores["keep"]
