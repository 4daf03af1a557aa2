"""A task with two equally good ways, so small that a test can learn it."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.info import InfoEmbedder
from experiments_il.blocks.state import StateEncoder
from trainer_core.normalize import Normalizer
from trainer_core.step import LossTrainer

HORIZON, ACTION, STATE, WIDTH = 8, 2, 1, 32


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
