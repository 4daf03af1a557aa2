"""Metrics of the steps between two log lines: kept as tensors, read together."""

from __future__ import annotations

from collections import Counter
from math import fsum, isfinite
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trainer_core.ranks import Ranks

__all__ = ["MetricWindow", "numbers_of"]

_REDUCE: dict[str, Callable[[list[float]], float]] = {"mean": fmean, "sum": fsum, "max": max}


class MetricWindow:
    """Collects the metrics of each step and averages them at the log line.

    Reading waits for the device, and for the other ranks, once per window, not once per step and
    metric.

    Args:
        reductions: How the ranks' values of a metric become one: `mean` (the default), `sum` or
            `max`. Over the steps of a window, sums are averaged too, and of `max` the largest
            counts.
    """

    def __init__(self, reductions: Mapping[str, str] | None = None) -> None:
        self._reductions = dict(reductions or {})
        self._pending: list[Mapping[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._first_bad = 0
        self.steps_since_bad = 0
        """How long before the last `mean` the first loss was not finite, in steps."""
        self.add = self._pending.append
        """Adds the metrics of one step; a bound method, for the hot path."""

    def __bool__(self) -> bool:
        """Whether there are steps since the last log line."""
        return bool(self._pending or self._sums)

    def mean(self, ranks: Ranks | None = None) -> dict[str, float]:
        """Return the mean of each metric over the window and the ranks, and begin a new one."""
        self._read(ranks)
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self.steps_since_bad = self._counts.get("loss", 0) - self._first_bad
        self._sums, self._counts, self._first_bad = {}, {}, 0
        return means

    def state_dict(self, ranks: Ranks | None = None) -> dict[str, Any]:
        """Return the unfinished window of all ranks as JSON data."""
        self._read(ranks)
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with an unfinished window."""
        self._sums = dict(state["sums"])
        self._counts = dict(state["counts"])

    def _read(self, ranks: Ranks | None) -> None:
        """Add the pending steps to the sums, one after the other, as numbers of 64 bits."""
        tensors: list[Tensor] = []
        names: list[str] = []
        read: list[tuple[str, float]] = []
        for metrics in self._pending:
            for name, value in metrics.items():
                if isinstance(value, Tensor):
                    names.append(name)
                    tensors.append(value if value.ndim == 0 else value.mean())
                else:
                    read.append((name, float(value)))
        self._pending.clear()
        if tensors:
            numbers = torch.stack(tensors).tolist()
            read += [(name, float(value)) for name, value in zip(names, numbers, strict=True)]
        if ranks is not None and ranks.world_size > 1:
            read = self._over_ranks(ranks.gather(read))
        for name, number in read:
            self._add(name, number)

    def _over_ranks(self, gathered: Sequence[Sequence[Sequence[Any]]]) -> list[tuple[str, float]]:
        """Return one value for each step and metric from those of all ranks."""
        columns: dict[tuple[str, int], list[float]] = {}
        for of_rank in gathered:
            seen: Counter[str] = Counter()
            for name, number in of_rank:
                columns.setdefault((name, seen[name]), []).append(number)
                seen[name] += 1
        return [
            (name, _REDUCE[self._reductions.get(name, "mean")](numbers))
            for (name, _), numbers in columns.items()
        ]

    def _add(self, name: str, number: float) -> None:
        if self._reductions.get(name) == "max":
            self._sums[name] = max(self._sums.get(name, number), number)
            self._counts[name] = 1
            return
        self._sums[name] = self._sums.get(name, 0.0) + number
        self._counts[name] = self._counts.get(name, 0) + 1
        if name == "loss" and not self._first_bad and not isfinite(number):
            self._first_bad = self._counts[name]


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
