"""What a run returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["RunResult"]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        status: `completed` or `interrupted`, of a dry run `checked`; a run that fails raises.
        step: Optimizer steps done.
        metrics: The newest value of every metric.
        evaluation: The result of the newest evaluation; empty if there was none.
        out_dir: The run folder.
        wall_s: Seconds of the run, all its processes one after the other.
        report: What a dry run found; else empty.
        rank: Which process of the run returns it; rank 0 alone prints.
        stop_reason: Why it was complete before its last step, such as early stopping; else empty.
    """

    status: str
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    out_dir: Path = field(default_factory=Path)
    wall_s: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)
    rank: int = 0
    stop_reason: str = ""
