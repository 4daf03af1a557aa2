"""One plain line per logged step."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["StdoutLogger", "format_duration", "is_log_line"]

_BESIDES = (
    *("epoch", "samples", "samples_per_s", "data_share"),
    *("data_s", "forward_s", "backward_s", "optimizer_s", "step_s"),
)
_GRADIENTS = "grad_norm/"
_LINE = re.compile(r"step \d+/\d+  (?!evaluation: )")
_OF_TRAINING = ("lr/", _GRADIENTS)


class StdoutLogger:
    """Writes a line per logged step to standard output.

    The norms of the components' gradients are left to the other loggers.

    On a terminal, where the progress bar shows the training's metrics, only validations and
    evaluations get a line.

    Args:
        every_line: Write every line on a terminal too.
    """

    def __init__(self, every_line: bool = False) -> None:
        self.every_line = every_line
        self._total_steps = 0
        self._ends_s: float | None = None

    def start(self, run: Mapping[str, Any]) -> None:
        """Say what runs where, and from which step it goes on."""
        self._total_steps = int(run.get("total_steps", 0))
        limit_s = run.get("max_time_s")
        if limit_s is not None:
            self._ends_s = time.perf_counter() + limit_s - run.get("wall_s", 0.0)
        batch, device = run.get("global_batch", "?"), run.get("device", "?")
        line = f"{run['name']}: {self._total_steps} steps of {batch} samples on {device}"
        if run.get("parameters"):
            line += f", {_short(run['parameters'])} parameters"
        _write(f"{line} -> {run['out_dir']}")
        resumed_step = run.get("resumed_step")
        if resumed_step is not None:
            is_done = resumed_step >= self._total_steps
            where = f"after step {resumed_step}"
            _write(f"nothing is left to train {where}" if is_done else f"going on {where}")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the line of a step."""
        has_result = any("/" in name and not name.startswith(_OF_TRAINING) for name in metrics)
        if sys.stderr.isatty() and not self.every_line and not has_result:
            return
        values = {
            name: value
            for name, value in metrics.items()
            if name not in _BESIDES and not name.startswith(_GRADIENTS)
        }
        line = f"step {step}/{self._total_steps}  {_describe(values)}"
        rate, step_s = metrics.get("samples_per_s"), metrics.get("step_s")
        if rate is not None and step_s is not None:
            left_s = (self._total_steps - step) * step_s
            if self._ends_s is not None:
                left_s = min(left_s, max(0.0, self._ends_s - time.perf_counter()))
            left = format_duration(left_s)
            waiting = 100 * metrics.get("data_s", 0.0) / max(step_s, 1e-12)
            line += f"  {rate:.0f} samples/s  data {waiting:.0f}%  {left} left"
        _write(line)

    def finish(self, status: str) -> None:
        """Write nothing: whoever started the run says how it ended."""


def is_log_line(line: str) -> bool:
    """Return whether this logger wrote a line of the training; evaluations have lines of others."""
    return _LINE.match(line) is not None


def _describe(values: dict[str, float]) -> str:
    """Return names and values; of an evaluation as a sentence of its own."""
    is_evaluation = values and all(name.startswith("eval/") for name in values)
    named = {name.removeprefix("eval/"): f"{value:.4g}" for name, value in values.items()}
    if not is_evaluation:
        return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
    if "ci95_low" in named and "ci95_high" in named:
        named["ci95_low"] += f" to {named.pop('ci95_high')}"
        named = {name.removesuffix("_low"): text for name, text in named.items()}
    return "evaluation: " + "  ".join(f"{name} {text}" for name, text in named.items())


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _short(count: int) -> str:
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def format_duration(seconds: float) -> str:
    """Return `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
