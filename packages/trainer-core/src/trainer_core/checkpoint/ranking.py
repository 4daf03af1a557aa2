"""Which checkpoint is the best by a metric: read from what was measured, no state of its own."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

from trainer_core.checkpoint.layout import STATE, list_steps, step_name
from trainer_core.storage import read_json_mapping, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["BEST", "Goal", "best_steps", "point_to_best", "read_best", "read_metrics", "values_of"]

BEST = "BEST"
"""Name of the file that names the best checkpoint, and by which metric."""


class Goal(NamedTuple):
    """What the best checkpoint is the best in.

    Attributes:
        monitor: `val/<metric>` or `eval/<metric>`.
        mode: Whether less or more of it is better.
    """

    monitor: str
    mode: Literal["min", "max"]


def best_steps(values: Mapping[int, float], mode: str) -> list[int]:
    """Return the steps with a finite value, the best first; of equals the newer first."""
    sign = 1 if mode == "min" else -1
    finite = [step for step, value in values.items() if math.isfinite(value)]
    return sorted(finite, key=lambda step: (sign * values[step], -step))


def read_metrics(root: Path, step: int) -> dict[str, float]:
    """Return what was measured of the weights of a checkpoint.

    Args:
        root: `<out_dir>/checkpoints`.
        step: The checkpoint's step.

    Returns:
        The numbers of the log line of that step, of a validation only if it was at that step,
        and of the step's evaluation as `eval/...`; empty if nothing can be read.
    """
    document = read_json_mapping(root / step_name(step) / STATE)
    loop = document.get("loop")
    validated = isinstance(loop, dict) and loop.get("validated_step") == step
    logged = {
        name: value
        for name, value in _numbers(document.get("metrics")).items()
        if not name.startswith("eval/") and (validated or not name.startswith("val/"))
    }
    result = read_json_mapping(root.parent / "evaluation" / step_name(step) / "result.json")
    return logged | {f"eval/{name}": value for name, value in _numbers(result).items()}


def values_of(root: Path, monitor: str, steps: Iterable[int]) -> dict[int, float]:
    """Return the metric of each of these checkpoints that has it."""
    measured = {step: read_metrics(root, step) for step in steps}
    return {step: found[monitor] for step, found in measured.items() if monitor in found}


def point_to_best(root: Path, goal: Goal, values: Mapping[int, float]) -> int | None:
    """Let the file BEST name the best of the checkpoints that are there; return its step.

    Raises:
        StorageError: The disk refuses.
    """
    there = {step for step, _ in list_steps(root)}
    ranked = best_steps({s: value for s, value in values.items() if s in there}, goal.mode)
    if not ranked:
        if root.is_dir():
            (root / BEST).unlink(missing_ok=True)
        return None
    best = ranked[0]
    text = f"{step_name(best)}\n{goal.monitor} {goal.mode} {values[best]!r}\n"
    write_atomically(root / BEST, text)
    return best


def read_best(root: Path) -> tuple[int, Goal] | None:
    """Return the step that BEST names and what it is the best in; None without a usable file."""
    with suppress(OSError, ValueError):
        name, said = (root / BEST).read_text(encoding="utf-8").splitlines()[:2]
        monitor, mode, _ = said.rsplit(" ", 2)
        step = int(name.removeprefix("step-"))
        if mode in {"min", "max"} and step_name(step) == name:
            return step, Goal(monitor, "min" if mode == "min" else "max")
    return None


def _numbers(content: object) -> dict[str, float]:
    if not isinstance(content, dict):
        return {}
    return {
        name: float(value)
        for name, value in content.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
