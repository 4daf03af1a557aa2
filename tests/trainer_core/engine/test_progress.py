from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from trainer_core.engine.progress import (
    QuietProgress,
    TerminalProgress,
    open_progress,
)
from trainer_core.engine.timetable import Timetable

if TYPE_CHECKING:
    import pytest


def test_stream_decides_what_is_shown() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(open_progress(io.StringIO()), QuietProgress)
    assert isinstance(open_progress(Terminal()), TerminalProgress)


def test_bar_shows_steps_and_metrics() -> None:
    stream = io.StringIO()
    state = SimpleNamespace(
        step=0, total_steps=8, timetable=Timetable(), experiment=SimpleNamespace(name="tiny")
    )
    bar = TerminalProgress(stream, force_terminal=True)
    bar.start(cast("Any", state))
    state.step = 4
    bar.show_metrics({"loss": 0.25})
    bar.track(1, 2, "1 succeeded")
    bar.track(2, 2, "2 succeeded")
    bar.stop()
    shown = stream.getvalue()
    assert "tiny" in shown
    assert "evaluation" in shown
    assert "1 succeeded" in shown
    assert "4/8" in shown


def test_rate_leaves_the_evaluations_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("trainer_core.engine.progress.time.perf_counter", lambda: clock[0])
    stream = io.StringIO()
    state = SimpleNamespace(
        step=0, total_steps=8, timetable=Timetable(), experiment=SimpleNamespace(name="tiny")
    )
    bar = TerminalProgress(stream, force_terminal=True)
    bar.start(cast("Any", state))
    state.step, clock[0] = 8, 2.0
    bar._refresh()
    clock[0] = 100.0
    bar.track(1, 2, "1 succeeded")
    bar.stop()
    assert "4 steps/s" in stream.getvalue()
    assert "0.08 steps/s" not in stream.getvalue()


def test_quiet_progress_writes_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 110.0, 111.0, 200.0])
    monkeypatch.setattr("trainer_core.engine.progress.time.perf_counter", lambda: next(clock))
    stream = io.StringIO()
    progress = QuietProgress(stream)
    for done in (1, 2, 3, 1):
        progress.track(done, 50, f"{done} succeeded")
    assert stream.getvalue() == "evaluation 2/50: 2 succeeded\n"
