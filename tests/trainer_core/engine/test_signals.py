from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.engine.signals import InterruptFlag, catch_interrupts, leave_early
from trainer_core.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_sets_the_flag_and_wakes(number: signal.Signals) -> None:
    before, woken = signal.getsignal(number), []
    with catch_interrupts(lambda: woken.append(1)) as flag:
        assert not flag
        os.kill(os.getpid(), number)
        assert flag.signal_name == number.name
    assert woken == [1]
    assert signal.getsignal(number) == before


def test_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import os, signal\nfrom trainer_core.engine.signals import catch_interrupts\n"
        "with catch_interrupts(lambda: None):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")


def test_other_threads_run_without_handlers() -> None:
    flags: list[InterruptFlag] = []

    def work() -> None:
        with catch_interrupts(lambda: None) as flag:
            flags.append(flag)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not flags[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_before_the_first_step_gives_up_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, leave_early(), suppress(Exception):
        os.kill(os.getpid(), number)
    want = f"interrupted by {number.name} before the first step; the same command goes on"
    assert (str(caught.value), caught.value.exit_code) == (want, 75)
    assert signal.getsignal(number) == before


def test_signal_that_somebody_swallowed_still_ends_the_building() -> None:
    with pytest.raises(Interrupted), leave_early(), suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)


def test_signal_while_building_is_code_75(
    train: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("trainer_core.engine.build.check_first_batch", slow)
    with pytest.raises(Interrupted):
        train()


def test_signal_before_the_first_batch_is_saved(
    train: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> dict[str, object]:
        os.kill(os.getpid(), signal.SIGUSR1)
        return {}

    with monkeypatch.context() as patch:
        patch.setattr("trainer_core.engine.runfolder.describe_environment", interrupt)
        result = train()
    assert (result.status, result.step) == ("interrupted", 0)
    assert [p.name for p in tmp_path.glob("run/checkpoints/step-*")] == ["step-000000000"]
    assert train().status == "completed"


def test_loader_process_outlives_the_signal_of_its_job(train: Callable[..., RunResult]) -> None:
    def signal_all(experiment: Any) -> None:
        step, calls = experiment.trainer.train_step, []

        def train_step(*arguments: Any, **where: Any) -> Any:
            calls.append(1)
            if len(calls) == 3:
                for child in multiprocessing.active_children():
                    os.kill(child.pid or 0, signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)
            return step(*arguments, **where)

        experiment.trainer.train_step = train_step

    result = train("data.num_workers=2", spy=signal_all)
    assert (result.status, result.step) == ("interrupted", 3)
