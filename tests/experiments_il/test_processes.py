"""Losses that depend on who shares a batch are the same for one process and for two."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = ["il/vfp_small", "il/cfg_vqvae_small", "il/mutual_information_small"]
SMALL = [
    "params.demonstrations=2",
    "trainer.max_steps=3",
    "trainer.log_every_n_steps=1",
    "data.batch_size=16",
    "data.root=demonstrations",
    "optimizer.warmup_steps=1",
]
TERMS = {"loss", "velocity", "kl", "prior", "transport", "load_balance", "state_vae_error"}


def train(recipe: str, folder: Path, runner: str) -> list[dict[str, float]]:
    options = [*SMALL, f"run.out_dir={folder.name}", f"runner={{_type_: {runner}}}"]
    if "mutual" not in recipe:
        options += ["loss.group=8", "evaluation=null", "params.width=16"]
    command = [sys.executable, "-m", "trainer_core.cli", "run", recipe, *options]
    result = subprocess.run(
        command, cwd=folder.parent, capture_output=True, text=True, timeout=170, check=False
    )
    assert result.returncode == 0, result.stderr
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k in TERMS} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_train_as_one(recipe: str, tmp_path: Path) -> None:
    one = train(recipe, tmp_path / "one", "local")
    two = train(recipe, tmp_path / "two", "ddp, nproc_per_node: 2")
    assert len(one) == len(two) == 3
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-5)
