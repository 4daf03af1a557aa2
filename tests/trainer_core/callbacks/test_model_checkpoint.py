from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

from trainer_core.callbacks.model_checkpoint import ModelCheckpoint
from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.writer import commit_checkpoint
from trainer_core.errors import StorageError

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


@pytest.mark.parametrize("name", ["every_n_steps", "every_minutes", "keep_last"])
def test_values_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        ModelCheckpoint(**cast("dict[str, Any]", {name: 0}))
