"""A task with two equally good ways, so small that a test can learn it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.info import InfoEmbedder
from experiments_il.blocks.state import StateEncoder
from experiments_il.data.writer import LeRobotWriter
from trainer_core.normalize import Normalizer
from trainer_core.step import LossTrainer

HORIZON, ACTION, STATE, WIDTH = 8, 2, 1, 32
EXPERIMENT = """\
schema_version: 1
run: {name: states, out_dir: ROOT/run, threads: 1}
models:
  state_encoder: {_type_: state_encoder, state_dim: 39, width: 16, hidden: []}
  info_embedder: {_type_: info_embedder, sources: {observation.state: 16}, width: 16}
  action_decoder:
    {_type_: mlp_action_decoder, action_dim: 4, horizon: 8, memory_width: 16, width: 16}
data: {_type_: lerobot, root: ROOT/data, windows: {action: [0, 8]}, batch_size: 8}
loss: {_type_: l2}
optimizer: {_type_: optim_cls.Adam, lr: 0.003}
trainer: {_type_: naive_flow_matching_policy_trainer, max_steps: 8, n_action_steps: 4}
callbacks: [{_type_: cb.ema, decay: 0.9}]
loggers: []
"""


@dataclass(frozen=True)
class TwoModes:
    """Chunks that pass an obstacle on the left or on the right; nothing observed tells which.

    x_h = +-sin(pi h/7), y_h = 2h/7 - 1, with noise of 0.03.
    """

    horizon: int = HORIZON
    action_dim: int = ACTION
    width: int = WIDTH

    def batch(self, size: int, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        side = torch.randint(2, (size, 1), generator=generator) * 2.0 - 1
        along = torch.linspace(0, 1, HORIZON)
        path = torch.stack(
            [side * torch.sin(torch.pi * along), (2 * along - 1).expand(size, -1)], -1
        )
        noise = 0.03 * torch.randn(path.shape, generator=generator)
        return {"observation.state": torch.zeros(size, STATE), "action": path + noise}

    def encoders(self) -> dict[str, nn.Module]:
        return {
            "state_encoder": StateEncoder(STATE, WIDTH, hidden=[]),
            "info_embedder": InfoEmbedder({"observation.state": WIDTH}, WIDTH),
        }

    def train(self, trainer: LossTrainer, steps: int, size: int = 256) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for step in range(steps):
            batch = self.batch(size, step)
            metrics = trainer.train_step(batch, epoch=0, total_epochs=1, iterations=step)
        return metrics

    def shares(self, trainer: Any, evaluations: int, samples: int = 1000) -> tuple[float, float]:
        """Return how many sampled chunks pass on the left and on the right."""
        torch.manual_seed(0)
        trainer.models.eval()
        trainer.num_inference_steps = evaluations
        policy = trainer.policy(Normalizer({}))
        chunks = policy.act({"observation.state": torch.zeros(samples, 1, STATE)})
        trainer.models.train()
        middle = chunks[:, 3:5, 0].mean(dim=1)
        left, right = ((middle - side).abs() < 0.2 for side in (-1, 1))
        return float(left.float().mean()), float(right.float().mean())


@pytest.fixture
def two_modes() -> TwoModes:
    """Return the task."""
    return TwoModes()


@pytest.fixture(scope="session")
def experiment_of_states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an experiment file on a tiny data set of the sizes of Meta-World, seen in a second.

    States have 39 numbers, actions 4, chunks 8 actions; averaged weights are kept.
    """
    root = tmp_path_factory.mktemp("states")
    features = {
        "observation.state": {"dtype": "float32", "shape": [39]},
        "action": {"dtype": "float32", "shape": [4]},
    }
    rng = np.random.default_rng(0)
    with LeRobotWriter.create(root / "data", fps=10, features=features) as writer:
        for length in (12, 9):
            state = rng.normal(size=(length, 39)).astype(np.float32)
            action = np.tanh(state[:, :4])
            writer.add_episode({"observation.state": state, "action": action}, "move")
    file = root / "experiment.yaml"
    file.write_text(EXPERIMENT.replace("ROOT", str(root)), encoding="utf-8")
    return file
