"""How far a run is: a bar on a terminal, quiet lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.progress import Progress as RichProgress

    from trainer_core.engine.state import RunState

__all__ = ["Progress", "QuietProgress", "TerminalProgress", "open_progress"]

REFRESH_S = 0.2
_QUIET_S = 10.0
_SHOWN_IN_BAR = ("loss", "val/loss", "lr")


class Progress(Protocol):
    """Shows how far the training and its evaluations are."""

    def start(self, state: RunState) -> None:
        """Begin to show a run."""
        ...

    def show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a log line."""
        ...

    def track(self, done: int, total: int, text: str) -> None:
        """Show how far an evaluation is; `text` says how it goes ("12 succeeded")."""
        ...

    def stop(self) -> None:
        """End the display."""
        ...


def open_progress(stream: TextIO | None = None) -> Progress:
    """Return a bar if the stream (default: stderr) is a terminal, else quiet lines."""
    stream = sys.stderr if stream is None else stream
    return TerminalProgress(stream) if stream.isatty() else QuietProgress(stream)


class QuietProgress:
    """Writes a line for an evaluation at most every ten seconds; the loggers do the rest."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._done = 0
        self._next_s = 0.0

    def start(self, state: RunState) -> None:
        """Show nothing."""

    def show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Show nothing: the loggers write the line."""

    def track(self, done: int, total: int, text: str) -> None:
        """Write a line if the last one, or the begin of this evaluation, is old enough."""
        now = time.perf_counter()
        if done <= self._done or not self._done:
            self._next_s = now + _QUIET_S
        self._done = done
        if now >= self._next_s and self._stream is not None:
            self._next_s = now + _QUIET_S
            self._stream.write(f"evaluation {done}/{total}: {text}\n")
            self._stream.flush()

    def stop(self) -> None:
        """Show nothing."""


class TerminalProgress:
    """A rich bar with rate and time left, redrawn by the clock and never by the step.

    Args:
        stream: Where it is drawn.
        force_terminal: Draw even if the stream says it is no terminal.
    """

    def __init__(self, stream: TextIO, *, force_terminal: bool | None = None) -> None:
        # rich costs 60 ms and is needed on a terminal only.
        from rich import progress  # noqa: PLC0415 - see above
        from rich.console import Console  # noqa: PLC0415 - see above

        self._bar: RichProgress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=16),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[metrics]}"),
            console=Console(file=stream, force_terminal=force_terminal),
            auto_refresh=False,
        )
        self._task: Any = None
        self._evaluation: Any = None
        self._state: RunState | None = None
        self._first_step = 0
        self._busy_s = 0.0
        self._last_s = 0.0

    def start(self, state: RunState) -> None:
        """Draw the bar; from now on it is redrawn by the run's timetable."""
        self._state = state
        self._first_step = state.step
        self._last_s = time.perf_counter()
        self._task = self._bar.add_task(
            state.experiment.name,
            total=state.total_steps,
            completed=state.step,
            rate="",
            metrics="",
        )
        self._bar.start()
        state.timetable.every_seconds(REFRESH_S, self._refresh)

    def show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Show the newest metrics at the next redraw."""
        if self._task is not None:
            shown = {name: value for name, value in metrics.items() if name in _SHOWN_IN_BAR}
            if shown:
                text = " ".join(f"{name} {value:.3g}" for name, value in shown.items())
                self._bar.update(self._task, metrics=text)

    def track(self, done: int, total: int, text: str) -> None:
        """Show a second bar until it is full; the training's rate leaves this time out."""
        self._last_s = time.perf_counter()
        if self._evaluation is None:
            self._bar.update(self._task, completed=self._state.step if self._state else 0)
            self._evaluation = self._bar.add_task("evaluation", total=total, rate="", metrics="")
        self._bar.update(self._evaluation, completed=done, total=total, metrics=text)
        if done >= total:
            self._bar.remove_task(self._evaluation)
            self._evaluation = None
        self._bar.refresh()

    def stop(self) -> None:
        """Leave the last state on the screen."""
        if self._task is not None:
            self._refresh()
            self._bar.stop()

    def _refresh(self) -> None:
        if self._state is not None:
            now = time.perf_counter()
            self._busy_s += now - self._last_s
            self._last_s = now
            rate = (self._state.step - self._first_step) / max(self._busy_s, 1e-9)
            self._bar.update(self._task, completed=self._state.step, rate=f"{rate:.3g} steps/s")
            self._bar.refresh()
