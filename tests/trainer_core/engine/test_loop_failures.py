"""What ends a run, what does not, and what is kept of it."""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.checkpoint.layout import step_name
from trainer_core.errors import CheckpointError, TrainerError
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult

    Train = Callable[..., RunResult]


def test_failure_is_written_down_and_raised(train: Train, tmp_path: Path) -> None:
    def spy(experiment: Any) -> None:
        step = experiment.trainer.train_step

        def fail(batch: Any, **where: Any) -> Any:
            if where["iterations"] == 4:
                msg = "boom"
                raise ArithmeticError(msg)
            return step(batch, **where)

        experiment.trainer.train_step = fail

    with pytest.raises(ArithmeticError) as caught:
        train(spy=spy)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["error"]) == ("failed", "ArithmeticError: boom")
    assert caught.value.run_folder == str(tmp_path / "run")  # type: ignore[attr-defined] # set for the command line


def test_checkpoint_of_another_model_names_the_differences(train: Train, tmp_path: Path) -> None:
    train()
    other = {
        "sequential": {"layers": [{"_type_": "nn.Linear", "in_features": 3, "out_features": 2}]}
    }
    before = sorted(path.name for path in (tmp_path / "run").rglob("*"))
    with pytest.raises(CheckpointError, match="is of another model; component 'model' differs"):
        train(model=other)
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == before


def test_diverged_run_fails_and_keeps_its_good_checkpoint(train: Train, tmp_path: Path) -> None:
    class Diverge:
        @hookimpl
        def trainer_step_end(self, state: Any) -> None:
            if state.step == 7:
                next(state.models.parameters()).data.fill_(float("nan"))

    def spy(experiment: Any) -> None:
        experiment.hooks._manager.register(Diverge())

    save_often = [{"_type_": "model_checkpoint", "every_n_steps": 5}]
    with pytest.raises(TrainerError, match="the loss is nan at step 8: the training has diverged"):
        train(spy=spy, callbacks=save_often)
    kept = [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")]
    assert kept == [step_name(5)]


def test_full_disk_does_not_end_the_training(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FillDisk:
        @hookimpl
        def trainer_step_end(self, state: Any) -> None:
            size = 400 if 4 <= state.step < 9 else limits[0]
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

    def spy(experiment: Any) -> None:
        experiment.hooks._manager.register(FillDisk())

    saving = {"every_n_steps": 3, "keep_last": 9, "async_save": False}
    often = [{"_type_": "ema"}, {"_type_": "model_checkpoint", **saving}]
    assert train(spy=spy, callbacks=often, loggers=[]).status == "completed"
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*-*"))
    assert kept == [step_name(step) for step in (3, 9, 12, 13)]
    refused = tmp_path / "run" / "checkpoints" / step_name(6)
    assert caplog.messages == [
        f"checkpoint of step 6 not saved: cannot write {refused}: File too large"
    ]


def test_report_that_cannot_be_written_fails_nothing(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train("trainer.max_steps=2")
    report = tmp_path / "run" / "report.html"
    report.unlink()
    report.mkdir()
    assert train("trainer.max_steps=2").status == "completed"
    assert caplog.messages == [f"no report: cannot write {report}: it is not a file"]


def test_weights_that_are_not_finite_are_not_saved(train: Train) -> None:
    class Spoil:
        @hookimpl
        def trainer_step_end(self, state: Any) -> None:
            if state.step == 4:
                next(state.models.parameters()).data.fill_(float("inf"))
                os.kill(os.getpid(), signal.SIGTERM)

    def spy(experiment: Any) -> None:
        experiment.hooks._manager.register(Spoil())

    with pytest.raises(TrainerError, match="weights are not finite after step"):
        train("trainer.log_every_n_steps=50", spy=spy)
