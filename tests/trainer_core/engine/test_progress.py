from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from trainer_core.engine.progress import (
    QuietProgress,
    TerminalProgress,
    compose_line,
    open_progress,
)
from trainer_core.engine.timetable import Timetable

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.results import RunResult


def test_stream_decides_what_is_shown() -> None:
    assert isinstance(open_progress(io.StringIO()), QuietProgress)
    assert isinstance(open_progress(Terminal()), TerminalProgress)


def test_bar_shows_steps_and_metrics() -> None:
    stream = io.StringIO()
    state = SimpleNamespace(
        step=0,
        total_steps=8,
        wall_s=0.0,
        timetable=Timetable(),
        experiment=SimpleNamespace(name="tiny"),
    )
    bar = TerminalProgress(stream, force_terminal=True)
    bar.start(cast("Any", state))
    state.step = 4
    bar.show_metrics({"loss": 0.25})
    bar.track(1, 2, "1 succeeded")
    bar.track(2, 2, "2 succeeded")
    bar.track(64, 64, "samples", "validation")
    bar.stop()
    shown = stream.getvalue()
    assert "validation" in shown
    assert "tiny" in shown
    assert "evaluation" in shown
    assert "1 succeeded" in shown
    assert "4/8" in shown


def test_rate_leaves_the_evaluations_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("trainer_core.engine.progress.time.perf_counter", lambda: clock[0])
    stream = io.StringIO()
    state = SimpleNamespace(
        step=0,
        total_steps=8,
        wall_s=0.0,
        timetable=Timetable(),
        experiment=SimpleNamespace(name="tiny"),
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


def test_only_rank_0_shows_anything() -> None:
    progress = open_progress(Terminal(), is_main=False)
    assert isinstance(progress, QuietProgress)


def test_closed_stream_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    assert isinstance(open_progress(closed), QuietProgress)
    monkeypatch.setattr("sys.stderr", None)
    open_progress().track(1, 2, "1 succeeded")


class Terminal(io.StringIO):
    """A terminal that may hang up."""

    gone = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.gone:
            raise BrokenPipeError
        return super().write(text)


def test_terminal_that_goes_away_does_not_end_the_run(
    train: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)

    def hang_up(experiment: Any) -> None:
        experiment.name = "a" * 500 + "\n"
        stream.gone = True

    assert train(spy=hang_up).status == "completed"


def test_quiet_progress_survives_a_reader_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 120.0, 140.0])
    monkeypatch.setattr("trainer_core.engine.progress.time.perf_counter", lambda: next(clock))
    stream = Terminal()
    stream.gone = True
    progress = QuietProgress(stream)
    for done in (1, 2, 3):
        progress.track(done, 3, "x")
    assert stream.getvalue() == ""


DETAILS = ["123 steps/s", "0:29 left", "loss 0.0123", "val/loss 0.0234", "lr 0.0001"]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (20, "1234/20000"),
        (60, "pick-place  1234/20000  123 steps/s  0:29 left  loss 0.0123"),
        (80, "pick-place  #---------------  1234/20000  123 steps/s  0:29 left  loss 0.0123"),
    ],
)
def test_narrow_terminal_has_what_matters_most(width: int, line: str) -> None:
    assert compose_line("pick-place", 1234, 20000, DETAILS, width, ("#", "-")) == line


@pytest.mark.parametrize("width", [*range(20, 201, 7)])
@pytest.mark.parametrize("name", ["a", "x" * 400, "\u4e2d\u6587" * 40, "two\nlines [red]\x1b[1m"])
def test_line_fits_into_every_terminal(width: int, name: str) -> None:
    from rich.cells import cell_len

    line = compose_line(name, 5, 10, DETAILS, width, ("\u2501", "\u2500"))
    assert cell_len(line) <= width
    assert "5/10" in line
    assert "\n" not in line


def test_time_left_ends_with_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("trainer_core.engine.progress.time.perf_counter", lambda: clock[0])
    settings = SimpleNamespace(max_time_s=100)
    state = SimpleNamespace(
        step=0,
        total_steps=10_000,
        wall_s=40.0,
        timetable=Timetable(),
        experiment=SimpleNamespace(name="tiny", settings=settings),
    )
    stream = io.StringIO()
    bar = TerminalProgress(stream, force_terminal=True, width=80)
    bar.start(cast("Any", state))
    state.step, clock[0] = 10, 10.0
    bar.stop()
    assert "0:50 left" in stream.getvalue()


def test_display_of_one_rank_waits_for_no_other() -> None:
    timetable, shown = Timetable(), []
    timetable.every_seconds(-1.0, lambda: shown.append(1), shared=False)
    timetable.run_due(1, 10, cast("Any", None))  # no rank is asked
    assert shown == [1]
