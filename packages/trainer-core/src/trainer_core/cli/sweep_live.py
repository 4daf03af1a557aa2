"""The trials of a sweep on a terminal, in a table that goes on while they run side by side."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TextIO

from trainer_core.cli.sweep_table import short_key
from trainer_core.engine.progress import open_console
from trainer_core.engine.trial_lines import describe_end, signed
from trainer_core.loggers.stdout import format_duration, is_log_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from rich.live import Live
    from rich.text import Text

    from trainer_core.results import RunResult

__all__ = ["Row", "TrialTable", "compose_table"]

_REFRESH_S = 0.25
_LONGEST_VALUE = 24
_BESIDES = 3  # the heading, the last line, and where the cursor stands
_ORDER = ("running", "starting", "failed", "interrupted", "completed", "waiting")
_COLOURS = {"running": "cyan", "failed": "red", "interrupted": "yellow", "completed": "green"}
_RESULTS = {"loss": "loss", "eval/success_rate": "success", "val/loss": "val/loss"}


@dataclass
class Row:
    """What is known of a trial.

    Attributes:
        number: Its place in the grid.
        values: What it sets, by dotted key.
        status: `waiting`, `starting`, `running`, `completed`, `interrupted` or `failed`.
        step: Optimizer steps done.
        total_steps: Those of the whole run; 0: not known yet.
        metrics: The newest ones.
        seconds: How long the run took; of one that goes on, since its status changed.
        since_s: When that was counted from, by the clock of the table; None: it does not go on.
        changed_s: When it began or ended, by the same clock.
    """

    number: int
    values: Mapping[str, str]
    status: str = "waiting"
    step: int = 0
    total_steps: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    since_s: float | None = None
    changed_s: float = 0.0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Row:
        """Return what a record of `sweep.json` knows."""
        row = cls(record["number"], record["values"])
        if record["status"] == "completed":
            row.status, row.step, row.seconds = "completed", record["step"], record["wall_s"]
            row.total_steps = row.step
            row.metrics = _with_success(record["metrics"], record["evaluation"])
        return row


class TrialTable:
    """Draws the table a few times a second; what trials write appears above it.

    It is a `trainer_core.protocols.SweepReport`. The lines of `log.stdout` are left out, for the
    table shows the same. The last state stays on the screen. A terminal that goes away ends the
    display and not the sweep.

    Args:
        records: The trials of `sweep.json`.
        names: What the lines of each trial begin with.
        stream: Where it is drawn; None: stderr.
        force_terminal: Draw even if the stream says it is no terminal.
    """

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]],
        names: Sequence[str],
        stream: TextIO | None = None,
        *,
        force_terminal: bool | None = None,
    ) -> None:
        from rich.live import Live

        self._names = names
        self._rows = [Row.of(record) for record in records]
        self._began_s = time.monotonic()
        self._console = open_console(stream or sys.stderr, force_terminal=force_terminal)
        self._live: Live | None = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            get_renderable=self._render,
            vertical_overflow="crop",
        )
        self._done = threading.Event()
        self._clock = threading.Thread(target=self._redraw, name="sweep table", daemon=True)

    def __enter__(self) -> Self:
        """Begin to draw; the cursor stays visible: a second signal leaves no time to show it."""
        self._guard(lambda live: live.start(refresh=True))
        self._guard(lambda live: live.console.show_cursor(True))
        self._clock.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._done.set()
        self._clock.join()
        self._guard(lambda live: live.stop())
        self._live = None

    def begin(self, number: int) -> None:
        """Show that a trial is being started."""
        row = self._rows[number]
        row.status, row.since_s = "starting", time.monotonic()
        row.changed_s = row.since_s

    def progress(
        self, number: int, step: int, total_steps: int, metrics: Mapping[str, float]
    ) -> None:
        """Show how far a trial is."""
        row = self._rows[number]
        if row.status != "running":
            row.since_s = time.monotonic()
        row.status, row.step, row.total_steps = "running", step, total_steps
        row.metrics = dict(metrics)

    def write(self, number: int, stream: str, text: str) -> None:
        """Show above the table what a trial wrote, without what the table shows."""
        lines = text.splitlines(keepends=True)
        if stream == "stdout":
            lines = [line for line in lines if not is_log_line(line)]
        if lines:
            self._say(signed(self._names[number], "".join(lines)))

    def end(self, number: int, result: RunResult, error: str = "") -> None:
        """Show how a trial ended, and above the table why."""
        row = self._rows[number]
        row.status, row.step, row.since_s = result.status, result.step, None
        row.seconds, row.changed_s = result.wall_s or row.seconds, time.monotonic()
        row.metrics |= _with_success(result.metrics, result.evaluation)
        if error:
            self._say(f"{self._names[number]}: {describe_end(result, error)}\n")

    def _render(self) -> Text:
        from rich.text import Text

        now = time.monotonic()
        for row in self._rows:
            if row.since_s is not None:
                row.seconds = now - row.since_s
        size = self._console.size
        lines = compose_table(self._rows, size.width, size.height, now - self._began_s)
        text = Text("\n".join(lines), no_wrap=True, overflow="crop")
        for status, colour in _COLOURS.items():
            text.highlight_regex(rf"(?m)^\d+ +{status}\b", colour)
        return text

    def _redraw(self) -> None:
        while not self._done.wait(_REFRESH_S):
            self._guard(lambda live: live.refresh())

    def _say(self, text: str) -> None:
        from rich.text import Text

        lines = Text.from_ansi(text.rstrip("\n"))
        self._guard(lambda live: live.console.print(lines, soft_wrap=True))

    def _guard(self, action: Callable[[Live], object]) -> None:
        """Do something to the display; a terminal that has gone ends it."""
        live = self._live
        if live is None:
            return
        try:
            action(live)
        except (OSError, ValueError):  # hung up, or closed
            self._live = None
            self._console.quiet = True
            with suppress(IndexError):  # of one that could not even start
                live.stop()  # gives stdout and stderr back


def compose_table(
    rows: Sequence[Row], width: int, height: int, elapsed_s: float = 0.0
) -> list[str]:
    """Return the lines of a table that fits into a terminal.

    Args:
        rows: The trials.
        width: Columns of the terminal. Where they lack, the number, the status and the steps stay
            longest.
        height: Lines of the terminal. Where they lack, trials that run and that failed stay
            longest, and the last line says how many are not shown.
        elapsed_s: Seconds since the sweep began here.
    """
    room = max(1, height - _BESIDES)
    shown = sorted(sorted(rows, key=_urgency)[:room], key=lambda row: row.number)
    counts = {status: sum(row.status == status for row in rows) for status in _ORDER}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    last = f"{len(rows)} {'trial' if len(rows) == 1 else 'trials'}: {told}"
    if len(shown) < len(rows):
        last += f"; {len(rows) - len(shown)} not shown"
    columns = _fitting(_columns(shown, rows), width)
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True)).rstrip()
        for cells in zip(*columns, strict=True)
    ]
    return [line[:width] for line in (*lines, f"{last}  {format_duration(elapsed_s)}")]


def _urgency(row: Row) -> tuple[int, float, int]:
    """Order rows by how much they are wanted: of what has ended, the newest first."""
    is_waiting = row.status == "waiting"
    return _ORDER.index(row.status), 0.0 if is_waiting else -row.changed_s, row.number


def _columns(shown: Sequence[Row], rows: Sequence[Row]) -> list[tuple[int, list[str]]]:
    """Return the columns with their headings, each with how early it gives way."""
    keys = list(rows[0].values) if rows else []
    columns = [
        (0, ["trial", *(str(row.number) for row in shown)]),
        (0, ["status", *(row.status.ljust(len("completed")) for row in shown)]),
    ]
    for key in keys:
        cells = [_clip(row.values[key]) for row in shown]
        columns.append((2, [_clip(short_key(key, keys)), *cells]))
    columns.append((1, ["step", *(_steps(row) for row in shown)]))
    for place, (name, heading) in enumerate(_RESULTS.items(), start=3):
        if any(name in row.metrics for row in rows):
            columns.append((place, [heading, *(_number(row.metrics.get(name)) for row in shown)]))
    seconds = (f"{row.seconds:.0f}" if row.status != "waiting" else "" for row in shown)
    columns.append((9, ["s", *seconds]))
    return columns


def _fitting(columns: Sequence[tuple[int, list[str]]], width: int) -> list[list[str]]:
    """Return as many of the columns as fit, in their order."""
    left, kept = width + 2, set()
    for number in sorted(range(len(columns)), key=lambda n: columns[n][0]):
        place, cells = columns[number]
        needed = max(map(len, cells)) + 2
        if place == 0 or needed <= left:
            kept.add(number)
            left -= needed
    return [cells for number, (_, cells) in enumerate(columns) if number in kept]


def _steps(row: Row) -> str:
    if not row.total_steps:
        return str(row.step) if row.step else ""
    return f"{row.step}/{row.total_steps}"


def _clip(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _with_success(metrics: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics with what the newest evaluation says of success."""
    rate = evaluation.get("success_rate")
    return {**metrics, **({} if rate is None else {"eval/success_rate": rate})}
