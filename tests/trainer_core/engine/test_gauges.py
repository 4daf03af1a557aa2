"""Numbers of a callback in the log lines, and a callback that waits and may be interrupted."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from trainer_core.hookspecs import hookimpl
from trainer_core.loggers.jsonl import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Train = Callable[..., Any]


class Gauge:
    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def trainer_fit_start(self, state: Any) -> None:
        state.gauges.append(self.read)

    def read(self) -> dict[str, float]:
        self.calls += 1
        return {"mine/calls": float(self.calls)}


class Waiter:
    def __init__(self) -> None:
        self.polls = 0

    @hookimpl
    def trainer_fit_start(self, state: Any) -> None:
        while not state.interrupted():
            self.polls += 1
            state.beat()
            state.track(self.polls, 9, "polls", "a wait")
            if self.polls == 3:
                os.kill(os.getpid(), signal.SIGTERM)


def test_a_gauge_is_read_once_for_each_log_line(train: Train, tmp_path: Path) -> None:
    train(spy=lambda experiment: experiment.hooks.add(Gauge()))
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    shown = [record["mine/calls"] for record in records]
    assert shown == [float(number + 1) for number in range(len(records))]


def test_a_hook_that_waits_hears_of_a_signal_and_the_run_is_saved(
    train: Train, tmp_path: Path
) -> None:
    waiter = Waiter()
    result = train(spy=lambda experiment: experiment.hooks.add(waiter))
    assert (result.status, result.step, waiter.polls) == ("interrupted", 0, 3)
    assert (tmp_path / "run" / "checkpoints" / "step-000000000").is_dir()
