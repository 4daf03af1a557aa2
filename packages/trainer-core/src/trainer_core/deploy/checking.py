"""An exported program against the module it was made from: the same numbers, and how fast."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from trainer_core.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

__all__ = ["TOLERANCE", "Latency", "compare", "measure", "on_one_thread"]

TOLERANCE = 1e-4
_WARM_UP = 5
_CALLS = 100
_SECONDS = 3.0


@dataclass(frozen=True)
class Latency:
    """How long calls take that plan for one sample, on one thread.

    Attributes:
        what: `eager`, or the format.
        p50_ms: Median.
        p95_ms: What 95 of 100 calls stay below.
        calls: How many were measured.
    """

    what: str
    p50_ms: float
    p95_ms: float
    calls: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON data."""
        return asdict(self)


def on_one_thread(module: nn.Module) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """Return a function from inputs to outputs that calls the module itself, on one thread."""

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.no_grad():
                outputs = module(*inputs)
        finally:
            torch.set_num_threads(threads)
        return list(outputs) if isinstance(outputs, tuple | list) else [outputs]

    return run


def compare(
    eager: Callable[[Sequence[Tensor]], list[Tensor]],
    exported: Callable[[Sequence[Tensor]], list[Tensor]],
    inputs: Sequence[Tensor],
    where: str,
) -> float:
    """Return the largest difference, relative to values above 1.

    Args:
        eager: The module.
        exported: The program.
        inputs: What both get.
        where: What messages call these inputs.

    Raises:
        TrainerError: It is beyond 1e-4, or shapes differ.
    """
    largest = 0.0
    for expected, found in zip(eager(inputs), exported(inputs), strict=True):
        if expected.shape != found.shape:
            msg = (
                f"the exported program gives {tuple(found.shape)} for {where}, the policy itself "
                f"{tuple(expected.shape)}; nothing was written"
            )
            raise TrainerError(msg)
        scale = expected.double().abs().clamp(min=1.0)
        difference = ((found.double() - expected.double()).abs() / scale).max().item()
        if not difference <= TOLERANCE:  # also where it is not a number
            msg = (
                f"the exported program differs from the policy itself by {difference:.2g} for "
                f"{where}; at most {TOLERANCE:g} is allowed, and nothing was written"
            )
            raise TrainerError(msg)
        largest = max(largest, difference)
    return largest


def measure(
    what: str, run: Callable[[Sequence[Tensor]], list[Tensor]], inputs: Sequence[Tensor]
) -> Latency:
    """Return how long calls take: 100 of them, or as many as fit into three seconds."""
    for _ in range(_WARM_UP):
        run(inputs)
    times: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(times) < _CALLS and (len(times) < _WARM_UP or time.perf_counter() < until):
        start = time.perf_counter()
        run(inputs)
        times.append(1000 * (time.perf_counter() - start))
    ordered = sorted(times)
    middle, late = ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))]
    return Latency(what, round(middle, 4), round(late, 4), len(ordered))
