"""What the toy recipes reach when they are trained to the end; minutes of CPU."""

from pathlib import Path
from typing import Any

import pytest

from trainer_core.run import run

pytestmark = pytest.mark.slow


def train(name: str, folder: Path, *overrides: str) -> Any:
    return run(f"il/toy_{name}_small", [*overrides, f"run.out_dir={folder}"]).evaluation


def test_flow_matching_needs_steps(tmp_path: Path) -> None:
    found = train("flow_matching", tmp_path / "out")
    assert found["off_mode_1"] >= 0.95
    assert found["off_mode_10"] <= 0.05
    assert found["least_mode_10"] >= 0.44


def test_variational_policy_needs_one(tmp_path: Path) -> None:
    found = train("vfp", tmp_path / "out")
    assert found["off_mode_1"] <= 0.15
    assert found["off_mode_2"] <= 0.10
    assert found["off_mode_10"] <= 0.05
    assert min(found[f"least_mode_{steps}"] for steps in (1, 2, 10)) >= 0.35


def test_variational_policy_takes_all_of_four_ways(tmp_path: Path) -> None:
    four = ["params.modes=4", "params.experts=4", "params.latent_dim=4"]
    assert train("vfp", tmp_path / "out", *four)["mode_entropy_10"] >= 0.9


def test_weak_divergence_fails_without_a_learned_prior(tmp_path: Path) -> None:
    prior = "models.prior={_merge_: replace, config: il/models/standard_prior, params: %s}"
    weak = ["trainer.beta=0.001", "trainer.gate_information_weight=0.0"]
    found = train("vfp", tmp_path / "out", prior % "{latent_dim: 2}", *weak)
    assert found["off_mode_10"] > 0.1


def test_quantised_policy_draws_both_ways(tmp_path: Path) -> None:
    found = train("cfg_vqvae", tmp_path / "out")
    assert found["off_mode_10"] <= 0.05
    assert found["least_mode_10"] >= 0.35
