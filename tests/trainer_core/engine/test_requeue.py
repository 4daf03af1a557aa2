from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.engine.requeue import requeue_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `scontrol` first on the path that notes its arguments; return the note."""
    note, program = tmp_path / "note.txt", tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {note}\n[ "$2" != 13 ] || {{ echo no >&2; exit 1; }}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return note


def stop(number: signal.Signals) -> Callable[[Any], None]:
    def spy(experiment: Any) -> None:
        step = experiment.trainer.train_step

        def train_step(*arguments: Any, **where: Any) -> Any:
            os.kill(os.getpid(), number)
            return step(*arguments, **where)

        experiment.trainer.train_step = train_step

    return spy


@pytest.mark.parametrize(
    ("number", "asked"), [(signal.SIGTERM, True), (signal.SIGUSR1, True), (signal.SIGINT, False)]
)
def test_preempted_job_goes_back_into_the_queue(
    scontrol: Path, train: Callable[..., RunResult], number: signal.Signals, asked: bool
) -> None:
    result = train("run.slurm_requeue=true", spy=stop(number))
    assert result.status == "interrupted"
    assert scontrol.exists() == asked
    assert not asked or scontrol.read_text() == "requeue 4711\n"


def test_nothing_is_requeued_unless_asked(scontrol: Path, train: Callable[..., RunResult]) -> None:
    assert train(spy=stop(signal.SIGTERM)).status == "interrupted"
    assert not scontrol.exists()


def test_refusal_is_a_warning(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert not requeue_job()
    assert caplog.messages == ["job 13 is not requeued: no"]


def test_outside_of_a_job_nothing_is_called(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    assert not requeue_job()
    assert not scontrol.exists()
