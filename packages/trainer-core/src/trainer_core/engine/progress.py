"""How far a run is: a bar on a terminal, quiet lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from trainer_core.loggers.stdout import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console
    from rich.live import Live

    from trainer_core.engine.state import RunState

__all__ = [
    "Progress",
    "QuietProgress",
    "TerminalProgress",
    "compose_line",
    "open_console",
    "open_progress",
]

REFRESH_S = 0.2
_QUIET_S = 10.0
_SHOWN_IN_BAR = ("loss", "val/loss", "lr")
_BAR = 16
_LONGEST_NAME = 24
_EVALUATION = "evaluation"


class Progress(Protocol):
    """Shows how far the training and its evaluations are."""

    def start(self, state: RunState) -> None:
        """Begin to show a run."""
        ...

    def show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a log line."""
        ...

    def track(self, done: int, total: int, text: str, name: str = _EVALUATION) -> None:
        """Show how far an evaluation, or what `name` says, is; `text` is how it goes."""
        ...

    def stop(self) -> None:
        """End the display."""
        ...


def open_progress(stream: TextIO | None = None, *, is_main: bool = True) -> Progress:
    """Return a bar if the stream is a terminal, else quiet lines; nothing on ranks other than 0.

    Args:
        stream: Where to show it; None: stderr.
        is_main: Whether this process shows anything.
    """
    stream = sys.stderr if stream is None else stream
    if not is_main or stream is None or stream.closed:
        return QuietProgress(None)
    return TerminalProgress(stream) if stream.isatty() else QuietProgress(stream)


class QuietProgress:
    """Writes a line for a measurement at most every ten seconds; the loggers do the rest.

    Args:
        stream: Where; None: nowhere. One that can no longer be written is left alone.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._done = 0
        self._next_s = 0.0

    def start(self, state: RunState) -> None:
        """Show nothing."""

    def show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Show nothing: the loggers write the line."""

    def track(self, done: int, total: int, text: str, name: str = _EVALUATION) -> None:
        """Write a line if the last one, or the begin of this evaluation, is old enough."""
        now = time.perf_counter()
        if done <= self._done or not self._done:
            self._next_s = now + _QUIET_S
        self._done = done
        if now >= self._next_s and self._stream is not None:
            self._next_s = now + _QUIET_S
            try:
                self._stream.write(f"{name} {done}/{total}: {text}\n")
                self._stream.flush()
            except (OSError, ValueError):  # the reader has gone, or the stream is closed
                self._stream = None

    def stop(self) -> None:
        """Show nothing."""


class TerminalProgress:
    """A bar with rate and time left, redrawn by the clock and never by the step.

    A narrow terminal has less of it: the count stays longest. A terminal that goes away ends the
    display and not the run.

    Args:
        stream: Where it is drawn.
        force_terminal: Draw even if the stream says it is no terminal.
        width: Columns; None: the terminal's.
    """

    def __init__(
        self, stream: TextIO, *, force_terminal: bool | None = None, width: int | None = None
    ) -> None:
        from rich.live import Live  # noqa: PLC0415 - see open_console

        self._console = open_console(stream, force_terminal=force_terminal, width=width)
        self._live: Live | None = Live(console=self._console, auto_refresh=False)
        self._state: RunState | None = None
        self._metrics: list[str] = []
        self._evaluation: tuple[str, int, int, str] | None = None
        self._first_step = 0
        self._began_s = self._last_s = time.perf_counter()
        self._busy_s = 0.0
        self._drawn_s = -REFRESH_S

    def start(self, state: RunState) -> None:
        """Draw the bar; from now on it is redrawn by the run's timetable."""
        self._state = state
        self._first_step = state.step
        self._began_s = self._last_s = time.perf_counter()
        self._guard(lambda live: live.start())
        state.timetable.every_seconds(REFRESH_S, self._refresh, shared=False)

    def show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Show the newest metrics at the next redraw."""
        shown = [name for name in _SHOWN_IN_BAR if name in metrics]
        if shown:
            self._metrics = [f"{name} {metrics[name]:.3g}" for name in shown]

    def track(self, done: int, total: int, text: str, name: str = _EVALUATION) -> None:
        """Show a second bar until it is full; the training's rate leaves this time out."""
        now = self._last_s = time.perf_counter()
        is_over = done >= total
        is_first = self._evaluation is None
        self._evaluation = (name, done, total, text)
        if is_over or is_first or now - self._drawn_s >= REFRESH_S:
            self._draw()
        if is_over:
            self._evaluation = None

    def stop(self) -> None:
        """Leave the last state on the screen."""
        if self._state is not None:
            self._evaluation = None
            self._refresh()
            self._guard(lambda live: live.stop())
            self._live = None

    def _refresh(self) -> None:
        now = time.perf_counter()
        self._busy_s += now - self._last_s
        self._last_s = now
        self._draw()

    def _draw(self) -> None:
        state = self._state
        if state is None or self._live is None:
            return
        from rich.text import Text  # noqa: PLC0415 - see __init__

        self._drawn_s = time.perf_counter()
        rate = (state.step - self._first_step) / max(self._busy_s, 1e-9)
        width, bars = self._console.width, self._bars()
        own = [f"{rate:.3g} steps/s", self._time_left(state, rate), *self._metrics]
        name = state.experiment.name
        lines = [compose_line(name, state.step, state.total_steps, own, width, bars)]
        if self._evaluation is not None:
            name, done, total, text = self._evaluation
            lines.append(compose_line(name, done, total, [text], width, bars))
        shown = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        self._guard(lambda live: live.update(shown, refresh=True))

    def _bars(self) -> tuple[str, str]:
        """Return what a bar is drawn with, done and not yet done."""
        is_unicode = self._console.encoding.lower().startswith("utf")
        return ("\u2501", "\u2500") if is_unicode else ("#", "-")

    def _time_left(self, state: RunState, rate: float) -> str:
        """Return what is left by the steps or by `max_time_s`, whichever ends first."""
        left_s = (state.total_steps - state.step) / rate if rate > 0 else math.inf
        limit_s = getattr(getattr(state.experiment, "settings", None), "max_time_s", None)
        if limit_s is not None:
            elapsed_s = state.wall_s + time.perf_counter() - self._began_s
            left_s = min(left_s, max(0.0, limit_s - elapsed_s))
        return f"{format_duration(left_s)} left" if math.isfinite(left_s) else ""

    def _guard(self, action: Callable[[Any], object]) -> None:
        """Do something to the display; a terminal that has gone ends it."""
        if self._live is None:
            return
        try:
            action(self._live)
        except (OSError, ValueError):  # hung up, or closed
            live, self._live = self._live, None
            self._console.quiet = True
            with suppress(IndexError):  # of one that could not even start
                live.stop()  # gives stdout and stderr back


def open_console(
    stream: TextIO, *, force_terminal: bool | None = None, width: int | None = None
) -> Console:
    """Return a console of rich for a stream, which raises when its reader has gone.

    Args:
        stream: Where it draws.
        force_terminal: Draw even if the stream says it is no terminal.
        width: Columns; None: the terminal's.
    """
    # rich costs 60 ms and is needed on a terminal only.
    from rich.console import Console  # noqa: PLC0415 - see above

    class Display(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich's own would end the process

    return Display(file=stream, force_terminal=force_terminal, width=width)


def compose_line(
    name: str, done: int, total: int, details: Sequence[str], width: int, bars: tuple[str, str]
) -> str:
    """Return a line of progress that fits into a terminal.

    Args:
        name: What goes on.
        done: How much of it is done.
        total: How much there is.
        details: Further texts, the most important first; some are left out where room lacks.
        width: Columns of the terminal.
        bars: The characters of the bar, done and not yet done.
    """
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 - rich is loaded by then

    name = " ".join(name.split())
    if cell_len(name) > _LONGEST_NAME:
        name = set_cell_size(name, _LONGEST_NAME - 3).rstrip() + "..."
    count = f"{done}/{total}"
    filled = round(_BAR * min(max(done / max(total, 1), 0.0), 1.0))
    bar = bars[0] * filled + bars[1] * (_BAR - filled)
    line = {"count": count}  # the bar yields to the first three details
    left = width - cell_len(count)
    wanted = [(str(i), " ".join(text.split())) for i, text in enumerate(details) if text]
    for key, text in [("name", name), *wanted[:3], ("bar", bar), *wanted[3:]]:
        if cell_len(text) + 2 <= left:
            line[key] = text
            left -= cell_len(text) + 2
    order = ["name", "bar", "count", *(key for key, _ in wanted)]
    return "  ".join(line[key] for key in order if key in line)
