"""Components of an invented wheel, used by tests as a stranger's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SEEN: list[str] = []


class Plain:
    """Owns its whole step, as the Protocol says."""

    def __init__(self, models: Any, optimizers: Any, loss: Any, device: Any) -> None:
        self.model = next(iter(models.values()))
        self.optimizer = optimizers["default"]

    def train_step(
        self, data: dict[str, Any], *, epoch: int, total_epochs: int, iterations: int, **_: Any
    ) -> dict[str, Any]:
        loss = (self.model(data["x"]) - data["y"]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss, "half": loss / 2}


class PlainValidated(Plain):
    """Also validates."""

    def validation_step(self, data: dict[str, Any], *, epoch: int, iterations: int) -> Any:
        return {"loss": (self.model(data["x"]) - data["y"]).square().mean()}


class EmptyData:
    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        return {"dataset": []}


class WrongData:
    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        return {"data": [1]}


class ShiftedData:
    """Data with statistics: x is 5 for all samples but in its second dimension."""

    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        x = torch.tensor([[5.0, float(i), 0.0] for i in range(8)])
        rows = [{"x": x[i], "y": torch.zeros(2)} for i in range(8)]
        stats = {"x": {"mode": "min_max", "min": [5, 0, 0], "max": [5, 7, 0]}}
        return {"dataset": rows, "norm_stats": stats, "val_dataset": rows[:3]}


class Evaluator:
    """Counts how often it is called; gives up when asked to."""

    def __init__(self, episodes: int = 4, signal_at: int = -1, fails_at: int = -1) -> None:
        self.episodes = episodes
        self.signal_at = signal_at
        self.fails_at = fails_at

    def evaluate(self, context: Any) -> dict[str, Any]:
        import os
        import signal

        SEEN.append(f"{context.step} {'final' if context.final else 'on the way'}")
        torch.rand(100)  # must not disturb the training
        if context.step == self.fails_at:
            message = "the simulator fell over"
            raise OSError(message)
        if context.step == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        for episode in range(self.episodes):
            if context.interrupted():
                break
            context.progress(episode + 1, self.episodes, "episodes")
        context.out_dir.mkdir(parents=True, exist_ok=True)
        Path(context.out_dir / "episodes.jsonl").write_text(json.dumps({"n": self.episodes}))
        assert not any(module.training for module in context.models.modules())
        return {"success_rate": 0.5, "n": self.episodes, "ci95": [0.2, 0.8], "task": "reach"}


class MeanPrediction:
    """A metric over the validation split."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []

    def update(self, prediction: Any, batch: Any) -> None:
        self.values.append(prediction.mean(dim=1))

    def compute(self) -> dict[str, float]:
        values, self.values = torch.cat(self.values), []
        return {"mean_prediction": float(values.mean()), "count": float(len(values))}
