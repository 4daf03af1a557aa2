"""How long answers take: percentiles of the newest, counts of all."""

from __future__ import annotations

from collections import deque

__all__ = ["PERCENTILES", "ServerStatistics"]

PERCENTILES = (50, 90, 99)
_KEPT = 10_000


class ServerStatistics:
    """Counts and times of a server, in one thread.

    Attributes:
        answered: Chunks that were sent.
        refused: Messages that were answered with an error of the client's.
        overloaded: Messages that were refused because too many were waiting.
        failed: Messages on which the policy failed.
        batches: Calls of the policy.
        clients: Open connections.
    """

    def __init__(self) -> None:
        self.answered = self.refused = self.overloaded = self.failed = 0
        self.batches = self.clients = 0
        self._total_ms: deque[float] = deque(maxlen=_KEPT)
        self._infer_ms: deque[float] = deque(maxlen=_KEPT)

    def add(self, total_ms: float, infer_ms: float) -> None:
        """Count an answer.

        Args:
            total_ms: From the message's arrival until its answer was sent.
            infer_ms: The policy's share.
        """
        self.answered += 1
        self._total_ms.append(total_ms)
        self._infer_ms.append(infer_ms)

    def percentiles(self) -> dict[str, dict[int, float]]:
        """Return milliseconds by percentile of `total` and `infer`; empty without an answer."""
        series = {"total": self._total_ms, "infer": self._infer_ms}
        return {name: _percentiles(values) for name, values in series.items() if values}

    def to_text(self) -> str:
        """Return what a person reads when the server ends."""
        counts = f"{self.answered} chunks in {self.batches} batches"
        errors = f"{self.refused} refused, {self.overloaded} overloaded, {self.failed} failed"
        lines = [f"{counts}; messages: {errors}"]
        for name, found in self.percentiles().items():
            times = "  ".join(f"p{percent} {value:.2f} ms" for percent, value in found.items())
            lines.append(f"{name:<6}{times}")
        return "\n".join(lines)

    def to_metrics(self) -> str:
        """Return the text that Prometheus reads."""
        counts = {
            "answered_total": self.answered,
            "refused_total": self.refused,
            "overloaded_total": self.overloaded,
            "failed_total": self.failed,
            "batches_total": self.batches,
            "clients": self.clients,
        }
        lines = [f"trainer_serve_{name} {value}" for name, value in counts.items()]
        for name, found in self.percentiles().items():
            lines += [
                f'trainer_serve_{name}_ms{{quantile="{percent / 100:g}"}} {value:.4f}'
                for percent, value in found.items()
            ]
        return "\n".join(lines) + "\n"


def _percentiles(values: deque[float]) -> dict[int, float]:
    ordered = sorted(values)
    return {
        percent: ordered[min(len(ordered) - 1, percent * len(ordered) // 100)]
        for percent in PERCENTILES
    }
