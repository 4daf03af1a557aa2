"""A run that goes back to a checkpoint while it trains takes its callbacks back with it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from trainer_core.sampling import SampleOrder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult

BAD_STEP = 5
CALLBACKS = [
    {"_type_": "model_checkpoint", "every_n_steps": 3, "keep_last": 9},
    {"_type_": "ema", "decay": 0.9},
    {"_type_": "freeze_schedule", "parts": {"model/*0.*": {"freeze_at": 4, "unfreeze_at": 7}}},
    {"_type_": "profiler", "from_step": 2, "steps": 6},
]


class Poisoned:
    """Data that have a NaN in the batch of one step only."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.bad = SampleOrder(22, 0).indices(BAD_STEP * 4, BAD_STEP * 4 + 4).tolist()

    def __len__(self) -> int:
        return 22

    def __getitems__(self, indices: Any) -> Any:
        batch = self.dataset.__getitems__(indices)
        if indices.tolist() == self.bad:
            batch["x"][2] = float("nan")
        return batch


def poison(experiment: Any) -> None:
    experiment.dataset = Poisoned(experiment.dataset)


def test_averages_and_frozen_parts_go_back_too(
    train: Callable[..., RunResult], tmp_path: Path
) -> None:
    for policy in ("skip", "rollback"):
        changes = (f"trainer.on_nonfinite={policy}", "trainer.log_every_n_steps=1")
        train(*changes, out=policy, spy=poison, callbacks=CALLBACKS)
    _require_same_end(tmp_path, "step-000000013", ("model.model", "ema.model", "optim.default"))


@pytest.mark.parametrize(
    ("other", "resume"),
    [
        (("scheduler.kwargs.T_max=20", "run.allow=[schedule]"), "auto"),
        (("loss.fn._type_=nn.L1Loss",), 3),
    ],
)
def test_what_was_allowed_to_differ_still_may_after_going_back(
    train: Callable[..., RunResult], tmp_path: Path, other: tuple[str, ...], resume: str | int
) -> None:
    train("trainer.max_steps=3", out="skip")
    shutil.copytree(tmp_path / "skip", tmp_path / "rollback")
    for policy in ("skip", "rollback"):
        changes = (*other, f"trainer.on_nonfinite={policy}", "trainer.max_steps=9")
        train(*changes, out=policy, resume=resume, spy=poison)
    _require_same_end(tmp_path, "step-000000009", ("model.model", "optim.default"))
    states = [
        json.loads((tmp_path / out / "checkpoints/step-000000009/state.json").read_text())
        for out in ("skip", "rollback")
    ]
    assert states[0]["schedules"] == states[1]["schedules"]


def test_run_that_began_from_another_goes_back_to_that(
    train: Callable[..., RunResult], tmp_path: Path
) -> None:
    train("trainer.max_steps=3", out="first")
    for policy in ("skip", "rollback"):
        changes = (f"trainer.on_nonfinite={policy}", "trainer.max_steps=9")
        train(*changes, out=policy, resume=str(tmp_path / "first"), spy=poison)
    _require_same_end(tmp_path, "step-000000009", ("model.model", "optim.default"))


def _require_same_end(tmp_path: Path, step: str, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        file = f"checkpoints/{step}/{kind}.safetensors"
        skipped, rolled = (load_file(tmp_path / out / file) for out in ("skip", "rollback"))
        assert all(torch.equal(skipped[name], rolled[name]) for name in skipped)
