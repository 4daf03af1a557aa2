"""What the driver of a run and its workers tell one another, in an actor of its own."""

from __future__ import annotations

from typing import Any

__all__ = ["NAMESPACE", "Mailbox"]

NAMESPACE = "trainer"
"""Ray's namespace of the actors of this package."""

_MOST_LINES = 10_000


class Mailbox:
    """Lives as long as the driver; everything in it is plain data.

    When its process is killed, Ray starts it again with nothing in it, and the driver tells it what
    the workers have to know. The driver asks for `news`, the workers for `wish`: nobody waits for
    anybody.
    """

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []
        self._wish = ""
        self._has_begun = False
        self._progress: dict[str, Any] = {"step": 0, "total_steps": 0, "metrics": {}}
        self._outcome: dict[str, Any] | None = None
        self._errors: dict[int, dict[str, Any]] = {}
        self._is_over = False

    def write(self, stream: str, text: str) -> None:
        """Take what a worker writes to `stdout` or `stderr`."""
        self._lines.append((stream, text))
        del self._lines[:-_MOST_LINES]

    def begin(self) -> None:
        """Note that all workers train."""
        self._has_begun = True

    def has_begun(self) -> bool:
        """Return whether an earlier attempt came to its first step."""
        return self._has_begun

    def fail(self, rank: int, report: dict[str, Any], *, is_final: bool = False) -> None:
        """Take the error of a rank, as `trainer_core.distributed.reports` describes it.

        Args:
            rank: Whose it is.
            report: What went wrong.
            is_final: Another attempt would end the same.
        """
        self._errors[rank] = report
        self._is_over = self._is_over or is_final

    def failures(self) -> int:
        """Return how many ranks have reported an error in this attempt."""
        return len(self._errors)

    def start(self, rank: int) -> bool:
        """Forget what a rank said in the attempt before; return whether there is to be another."""
        if not self._is_over:
            self._errors.pop(rank, None)
        return not self._is_over

    def finish(self, outcome: dict[str, Any]) -> None:
        """Take how the run ended, from rank 0."""
        self._outcome = outcome

    def ask_to_stop(self, signal_name: str) -> None:
        """Wish that the run saves and ends."""
        self._wish = signal_name

    def wish(self, progress: dict[str, Any] | None = None) -> str:
        """Return the name of the signal that the driver got; empty while there was none.

        Args:
            progress: Of rank 0: `step`, `total_steps` and the `metrics` that are new.
        """
        if progress is not None:
            metrics = {**self._progress["metrics"], **progress["metrics"]}
            self._progress = {**progress, "metrics": metrics}
        return self._wish

    def news(self) -> dict[str, Any]:
        """Return what was written since the last call, how far the run is, and how it ended."""
        lines, self._lines = self._lines, []
        return {
            "lines": lines,
            "outcome": self._outcome,
            "errors": self._errors,
            "has_begun": self._has_begun,
            "progress": self._progress,
            "wish": self._wish,
        }
