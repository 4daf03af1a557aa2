from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

from trainer_core.callbacks.model_checkpoint import ModelCheckpoint
from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.writer import commit_checkpoint
from trainer_core.errors import StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [13]),
        ({"every_n_steps": 4}, [13, 12]),
        ({"every_n_steps": 4, "keep_last": 9}, [13, 12, 8, 4]),
        ({"every_n_steps": 5, "save_last": False}, [10, 5]),
        ({"every_minutes": 1e-9, "keep_last": 3}, [13, 12, 11]),
        ({"every_n_epochs": 1, "keep_last": 9}, [13, 11, 6]),
        ({"every_n_epochs": 2, "keep_last": 9}, [13, 11]),
        ({"every_n_steps": 2, "keep_last": 1, "keep_every": 6}, [13, 12, 6]),
        ({"every_n_steps": 4, "keep_last": 9, "async_save": False}, [13, 12, 8, 4]),
    ],
)
def test_checkpoints_are_saved_and_kept_as_asked(
    train: Callable[..., Any], tmp_path: Path, options: dict[str, Any], kept: list[int]
) -> None:
    train(callbacks=[{"_type_": "model_checkpoint", **options}])
    assert [step for step, _ in list_steps(tmp_path / "run" / "checkpoints")] == kept


def test_training_goes_on_when_a_save_fails(
    train: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse_twice(folder: Path, snapshot: Any) -> Path:
        if snapshot.step in {4, 8}:
            msg = "cannot write it: No space left on device"
            raise StorageError(msg)
        return commit_checkpoint(folder, snapshot)

    monkeypatch.setattr("trainer_core.engine.saving.commit_checkpoint", refuse_twice)
    with caplog.at_level(logging.WARNING):
        result = train(callbacks=[{"_type_": "model_checkpoint", "every_n_steps": 4}])
    assert result.status == "completed"
    assert [step for step, _ in list_steps(tmp_path / "run" / "checkpoints")] == [13, 12]
    assert caplog.messages == [
        f"checkpoint of step {step} not saved: cannot write it: No space left on device"
        for step in (4, 8)
    ]


def test_last_save_that_fails_ends_the_run(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, snapshot: Any) -> Path:
        del snapshot
        msg = f"cannot write {folder}: Read-only file system"
        raise StorageError(msg)

    monkeypatch.setattr("trainer_core.engine.saving.commit_checkpoint", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        train()


VAL: dict[str, Any] = {
    "data": {
        "_type_": "random_regression",
        "x_shape": [3],
        "y_shape": [2],
        "size": 22,
        "val_size": 6,
        "batch_size": 4,
    }
}


class Scripted:
    """Gives each validation the next value."""

    def __init__(self, *values: float) -> None:
        self.values = iter(values)

    def __call__(self, experiment: Any) -> None:
        experiment.trainer.validation_step = lambda *_: {"loss": next(self.values)}


def test_best_and_newest_are_kept(train: Callable[..., Any], tmp_path: Path) -> None:
    saving = {"monitor": "val/loss", "mode": "max", "keep_best": 2, "keep_last": 1}
    callbacks = [{"_type_": "model_checkpoint", **saving}]
    values = Scripted(*[x for v in (1, 5, 4, 3, 2) for x in (v, v)])
    train("trainer.val_every_n_steps=3", spy=values, callbacks=callbacks, **VAL)
    root = tmp_path / "run" / "checkpoints"
    assert [step for step, _ in list_steps(root)] == [13, 9, 6]
    assert (root / "BEST").read_text() == "step-000000006\nval/loss max 5.0\n"


def test_best_is_remembered_by_a_resumed_run(train: Callable[..., Any], tmp_path: Path) -> None:
    saving = {"monitor": "val/loss", "mode": "max", "keep_last": 1}
    sections = {"callbacks": [{"_type_": "model_checkpoint", **saving}], **VAL}
    often = "trainer.val_every_n_steps=3"
    train(often, "trainer.max_steps=7", spy=Scripted(1, 1, 5, 5, 4, 4), **sections)
    train(often, spy=Scripted(3, 3, 2, 2, 1, 1), **sections)
    assert [step for step, _ in list_steps(tmp_path / "run" / "checkpoints")] == [13, 6]
    result = train(often, resume="best", spy=Scripted(*[9] * 9), **sections)
    assert result.step == 13
    assert (tmp_path / "run" / "previous" / "001" / "checkpoints" / "step-000000013").is_dir()


def test_metric_that_is_not_measured_is_said(
    train: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def rename(experiment: Any) -> None:
        experiment.trainer.validation_step = lambda *_: {"los": 1.0}

    callbacks = [{"_type_": "model_checkpoint", "monitor": "val/loss"}]
    train(callbacks=callbacks, spy=rename, **VAL)
    assert caplog.text.count("was not measured") == 1
    assert (
        "cb.model_checkpoint: 'val/loss' was not measured: no checkpoint is the best; "
        "there are val/los; did you mean 'val/los'?"
    ) in caplog.messages


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("val/loss", "monitor is 'val/loss', and the data has no validation split"),
        ("eval/x", "monitor is 'eval/x', and there is no evaluation: section"),
    ],
)
def test_metric_that_cannot_be_measured_is_refused(
    train: Callable[..., Any], monitor: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(callbacks=[{"_type_": "model_checkpoint", "monitor": monitor}])


def test_metric_of_the_training_is_refused() -> None:
    with pytest.raises(ValueError, match="monitor must be val/<metric> or eval/<metric>"):
        ModelCheckpoint(monitor="loss")


def test_error_of_the_writer_ends_the_run(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, snapshot: Any) -> Path:
        del folder, snapshot
        msg = "a bug"
        raise RuntimeError(msg)

    monkeypatch.setattr("trainer_core.engine.saving.commit_checkpoint", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        train(callbacks=[{"_type_": "model_checkpoint", "every_n_steps": 3, "save_last": False}])


@pytest.mark.parametrize("name", ["every_n_steps", "every_minutes", "keep_last", "keep_best"])
def test_values_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        ModelCheckpoint(**cast("dict[str, Any]", {name: 0}))
