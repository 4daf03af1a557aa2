"""The code of docs/how-to/write-a-trainer.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer_core.protocols import Trainer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-trainer.md"
WHERE = {"epoch": 0, "total_epochs": 1, "iterations": 0}


def load_page() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(code, names)
    return names


def test_loss_alone_makes_a_trainer() -> None:
    models = nn.ModuleDict({"net": nn.Linear(3, 3)})
    optimizers = {"default": torch.optim.SGD(models.parameters(), lr=0.1)}
    trainer = load_page()["DenoisingTrainer"](models, optimizers, None, "cpu", noise_scale=0.5)
    metrics = trainer.train_step({"action": torch.ones(4, 3)}, **WHERE)
    assert set(metrics) == {"loss", "grad_norm", "predicted_norm"}


def test_whole_step_follows_the_protocol() -> None:
    models = nn.ModuleDict({"first": nn.Linear(3, 1), "second": nn.Linear(3, 1)})
    optimizers = {k: torch.optim.SGD(m.parameters(), lr=0.1) for k, m in models.items()}
    trainer = load_page()["AlternatingTrainer"](models, optimizers, nn.MSELoss(), "cpu")
    assert isinstance(trainer, Trainer)
    batch = {"x": torch.ones(4, 3), "y": torch.ones(4, 1)}
    assert set(trainer.train_step(batch, **WHERE)) == {"loss_first"}
