"""Recipes of a size for a GPU: their keys and widths fit, and their parts train when small."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments_il.recipes
from experiments_il import load_policy
from experiments_il.blocks.vision import import_transformers
from experiments_il.data.writer import LeRobotWriter
from trainer_core.run import run

FOLDER = Path(experiments_il.recipes.__file__).parent
LARGE = sorted(path.stem.removesuffix("_small") for path in FOLDER.glob("*_small.yaml"))
NAMES = [name for name in LARGE if (FOLDER / f"{name}.yaml").exists()]
CAMERAS = [f"observation.images.{side}" for side in ("head", "left", "right")]
VIT = "{hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}"
TINY = [
    "params={width: 16, batch: 4, steps: 2}",
    "trainer={max_steps: 2, log_every_n_steps: 1}",
    "run.precision=fp32",
    "data.num_workers=0",
]
TINY_POLICY = [
    "params={heads: 2, layers: 1, feedforward: 32, encoder_layers: 1}",
    "params={pretrained: null, image_size: [28, 28], shift: 2}",
    *(f"models.{side}.settings={VIT}" for side in ("head", "left", "right")),
    "trainer.val_every_n_steps=2",
]
OWN = {
    "cfg_vqvae": ["loss.group=4", "params={codes: 2, latent_dim: 4}"],
    "mutual_information": ["params.image_size=16"],
    "vfp": ["loss.group=4", "params={experts: 2}"],
    "vfp_single_expert_depth": [
        f"models.depth.settings={VIT}",
        "params={depth_layers: [1], depth_width: 16, depth_model: depth_anything_v2_s}",
    ],
}


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of a robot with two arms and three cameras."""
    root, random = tmp_path_factory.mktemp("robot") / "data", np.random.default_rng(0)
    numbers = {"dtype": "float32", "shape": [24]}
    picture = {"dtype": "image", "shape": [30, 40, 3]}
    features = {"observation.state": numbers, "action": numbers, **dict.fromkeys(CAMERAS, picture)}
    with LeRobotWriter.create(root, fps=20, features=features) as writer:
        for _ in range(2):
            values = {
                key: random.standard_normal((6, 24)).astype(np.float32)
                for key in ("observation.state", "action")
            }
            frames = {key: random.integers(0, 256, (6, 30, 40, 3), np.uint8) for key in CAMERAS}
            writer.add_episode({**values, **frames}, "fold")
    return root


def test_every_trainer_has_a_recipe_of_both_sizes() -> None:
    assert NAMES == [
        "cfg_vqvae",
        "mutual_information",
        "naive_flow_matching",
        "vfp",
        "vfp_single_expert",
        "vfp_single_expert_depth",
    ]


CHECK_ALL = """
import json, sys
from trainer_core.engine.deep_check import deep_check
from trainer_core.experiment.loading import load_experiment

path, *names = sys.argv[1:]
found = {}
for name in names:
    loaded = load_experiment(f"il/{name}", [f"params.path={path}"])
    problems, warnings = deep_check(loaded)
    found[name] = [str(each) for each in (*loaded.problems, *problems, *warnings)]
print(json.dumps(found))
"""


def test_large_recipes_fit_their_data_at_full_size(demonstrations: Path) -> None:
    # As for a user, in a process in which no other model was built.
    command = [sys.executable, "-c", CHECK_ALL, str(demonstrations), *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {name: [] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_large_recipe_trains_when_made_small(
    name: str, demonstrations: Path, tmp_path: Path
) -> None:
    parts = TINY if name == "mutual_information" else [*TINY, *TINY_POLICY]
    places = [f"params.path={demonstrations}", f"run.out_dir={tmp_path}"]
    cache = [f"data.cache_dir={tmp_path / 'cache'}"]
    result = run(f"il/{name}", [*parts, *OWN.get(name, []), *places, *cache])
    assert (result.status, result.step) == ("completed", 2)
    assert math.isfinite(result.metrics["loss"])


def test_policy_acts_where_its_pretrained_files_are_not(
    demonstrations: Path, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers, eyes = import_transformers(), tmp_path / "eyes"
    config = transformers.Dinov2Config(**sizes, image_size=518, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(eyes)
    changes = [*TINY, *TINY_POLICY, f"params.pretrained={eyes}"]
    changes += [f"params.path={demonstrations}", f"data.cache_dir={tmp_path / 'cache'}"]
    run("il/vfp_single_expert", [*changes, f"run.out_dir={tmp_path / 'run'}"])
    shutil.rmtree(eyes)
    policy = load_policy(tmp_path / "run")
    observation = {key: torch.zeros(1, 1, 3, 30, 40, dtype=torch.uint8) for key in CAMERAS}
    chunk = policy.act({**observation, "observation.state": torch.zeros(1, 1, 24)})
    assert chunk.shape == (1, 40, 24)
