"""How trials go that run side by side, in plain lines."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer_core.results import RunResult

__all__ = ["TrialLines", "describe_end", "signed"]

_QUIET_S = 30.0


class TrialLines:
    """Writes what trials write, when they begin and end, and how far silent ones are.

    It is a `trainer_core.protocols.SweepReport`.

    Args:
        names: What the lines of each trial begin with.
        stream: Where they go; None: stderr. One that can no longer be written is left alone.
        quiet_s: After how many seconds without a line a trial's progress is written.
    """

    def __init__(
        self, names: Sequence[str], stream: TextIO | None = None, *, quiet_s: float = _QUIET_S
    ) -> None:
        self._names = names
        self._stream = stream
        self._quiet_s = quiet_s
        self._told_s = dict.fromkeys(range(len(names)), 0.0)
        self._steps = dict.fromkeys(range(len(names)), 0)

    def begin(self, number: int) -> None:
        """Say that a trial is being started."""
        self._say(number, "begun")

    def progress(
        self, number: int, step: int, total_steps: int, metrics: Mapping[str, float]
    ) -> None:
        """Say how far a trial is, unless it said something itself lately."""
        is_quiet = time.monotonic() - self._told_s[number] >= self._quiet_s
        if is_quiet and step > self._steps[number]:
            self._steps[number] = step
            loss = f"  loss {metrics['loss']:.4g}" if "loss" in metrics else ""
            self._say(number, f"step {step}/{total_steps}{loss}")

    def write(self, number: int, stream: str, text: str) -> None:
        """Write the lines of a trial, signed; all of them go to the same place."""
        del stream
        self._write(number, signed(self._names[number], text))

    def end(self, number: int, result: RunResult, error: str = "") -> None:
        """Say how a trial ended."""
        self._say(number, describe_end(result, error))

    def _say(self, number: int, what: str) -> None:
        self._write(number, f"{self._names[number]}: {what}\n")

    def _write(self, number: int, text: str) -> None:
        self._told_s[number] = time.monotonic()
        stream = sys.stderr if self._stream is None else self._stream
        with suppress(OSError, ValueError):  # the reader has gone, or the stream is closed
            stream.write(text)
            stream.flush()


def signed(name: str, text: str) -> str:
    """Return whole lines, each with the name of the trial that wrote it."""
    return "".join(f"{name}: {line}" for line in text.splitlines(keepends=True))


def describe_end(result: RunResult, error: str) -> str:
    """Return how a trial ended, as a sentence; an interruption tells of itself."""
    if result.status == "failed":
        return f"failed: {error or 'it does not say why'}"
    return error or f"{result.status} after {result.step} steps"
