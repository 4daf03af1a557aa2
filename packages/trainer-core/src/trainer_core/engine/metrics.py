"""Metrics of the steps between two log lines: kept as tensors, read together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MetricWindow", "numbers_of"]


class MetricWindow:
    """Collects the metrics of each step and averages them at the log line.

    Reading waits for the device once per window, not once per step and metric.
    """

    def __init__(self) -> None:
        self._pending: list[Mapping[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self.add = self._pending.append
        """Adds the metrics of one step; a bound method, for the hot path."""

    def __bool__(self) -> bool:
        """Whether there are steps since the last log line."""
        return bool(self._pending or self._sums)

    def mean(self) -> dict[str, float]:
        """Return the mean of each metric over the window, and begin a new one."""
        self._read()
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return the unfinished window as JSON data."""
        self._read()
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with an unfinished window."""
        self._sums = dict(state["sums"])
        self._counts = dict(state["counts"])

    def _read(self) -> None:
        """Add the pending steps to the sums, one after the other, as numbers of 64 bits."""
        tensors: list[Tensor] = []
        names: list[str] = []
        for metrics in self._pending:
            for name, value in metrics.items():
                if isinstance(value, Tensor):
                    names.append(name)
                    tensors.append(value if value.ndim == 0 else value.mean())
                else:
                    self._add(name, float(value))
        self._pending.clear()
        if tensors:
            for name, number in zip(names, torch.stack(tensors).tolist(), strict=True):
                self._add(name, float(number))

    def _add(self, name: str, number: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + number
        self._counts[name] = self._counts.get(name, 0) + 1


def numbers_of(result: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return the numbers of an evaluator's result under a prefix; `ci95` gives two.

    Args:
        result: Metrics, with lists, text and tables among them.
        prefix: Put before each name: `eval/`.
    """
    numbers: dict[str, float] = {}
    for name, value in result.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers[f"{prefix}{name}"] = float(value)
        elif name == "ci95" and len(value) == 2:
            numbers[f"{prefix}ci95_low"], numbers[f"{prefix}ci95_high"] = map(float, value)
    return numbers
