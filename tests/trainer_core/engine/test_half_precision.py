"""Training in fp16: the loss scale, skipped steps, and what a checkpoint keeps of them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from trainer_core.checkpoint.layout import step_name
from trainer_core.loggers.jsonl import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Train = Callable[..., Any]

FP16 = ("run.precision=fp16", "trainer.log_every_n_steps=1")


def state(run: Path, step: int = 13) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (run / "checkpoints" / step_name(step) / "state.json").read_text()
    )
    return document


def start_low(experiment: Any) -> None:
    """Start with a scale that no gradient overflows at."""
    experiment.trainer.loss_scale.value = 1024.0


def overflow_first_steps(experiment: Any) -> None:
    """Start with a scale that the first three gradients overflow at."""
    experiment.trainer.loss_scale.value = 2.0**20


def test_fp16_trains_like_fp32(train: Train, tmp_path: Path) -> None:
    train(*FP16, out="half", spy=start_low)
    train("trainer.log_every_n_steps=1", out="full")
    half, full = (read_metrics(tmp_path / out / "metrics.jsonl") for out in ("half", "full"))
    for one, other in zip(half, full, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.02)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=0.05)
    assert half[0]["loss_scale"] == 1024


def test_skipped_steps_move_neither_weights_nor_schedule_nor_average(
    train: Train, tmp_path: Path
) -> None:
    def spy(experiment: Any) -> None:
        experiment.trainer.loss_scale.value = 2.0**140  # above what fp32 has: five overflows

    train(*FP16, "trainer.max_steps=4", out="a", spy=spy, callbacks=[{"_type_": "ema"}])
    document = state(tmp_path / "a", 4)
    assert document["loop"]["skipped_steps"] == 4
    assert document["schedules"]["default"]["last_epoch"] == 0
    ema = load_file(tmp_path / "a/checkpoints" / step_name(4) / "ema.model.safetensors")
    weights = load_file(tmp_path / "a/checkpoints" / step_name(4) / "model.model.safetensors")
    assert all(torch.equal(ema[name], weight) for name, weight in weights.items())
    assert read_metrics(tmp_path / "a/metrics.jsonl")[-1]["skipped_steps"] == 4


def test_resumed_run_goes_on_with_the_scale(train: Train, tmp_path: Path) -> None:
    callbacks = [{"_type_": "model_checkpoint", "every_n_steps": 5, "keep_last": 9}]
    train(*FP16, out="whole", spy=overflow_first_steps, callbacks=callbacks)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for step in (10, 13):
        shutil.rmtree(tmp_path / "cut/checkpoints" / step_name(step))
    (tmp_path / "cut/metrics.jsonl").unlink()
    train(*FP16, out="cut", callbacks=callbacks)
    whole, cut = state(tmp_path / "whole"), state(tmp_path / "cut")
    assert whole["loop"]["trainer"] == cut["loop"]["trainer"]
    file = f"checkpoints/{step_name(13)}/model.model.safetensors"
    first, second = load_file(tmp_path / "whole" / file), load_file(tmp_path / "cut" / file)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
