"""Samples that are on their way while a step is computed."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from trainer_core.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LATER", "LOST", "Prefetch", "SampleSource"]

LATER = "later"
"""What a source returns for a sample that is not there yet."""
LOST = "lost"
"""What a source returns for a sample that will not come: it is asked for again."""

_GLANCE_S = 0.1
_PAUSE_S = 0.2
_NAP_S = 0.002


class SampleSource(Protocol):
    """Where samples come from; may be called by one thread."""

    def ask(self, number: int) -> Any:
        """Ask for a sample and return a ticket at once.

        Args:
            number: The step that the sample is for.
        """
        ...

    def fetch(self, ticket: Any, limit_s: float) -> Mapping[str, Any] | str:
        """Return the sample of a ticket, `LATER` after `limit_s` seconds, or `LOST`."""
        ...


Batch = TypeVar("Batch")


class Prefetch(Generic[Batch]):
    """Fetches samples and makes batches of them in a thread, in the order of the steps.

    Neither thread wakes the other, both look again after a nap: a thread that is woken takes
    the interpreter from the one that trains, which costs that more than the sample itself.

    Args:
        source: Where they come from.
        convert: Makes a batch of a sample, in the thread.
        first: Number of the first sample.
        depth: Samples that are asked for at a time; as many may lie ready.
        limit_s: Returns how long `take` waits for a sample, in seconds.
        check: Called while `take` waits; raises what ends the run.

    Attributes:
        wait_s: Seconds that `take` has waited.
        taken: Samples taken.
    """

    def __init__(
        self,
        source: SampleSource,
        convert: Callable[[Mapping[str, Any]], Batch],
        *,
        first: int = 0,
        depth: int = 2,
        limit_s: Callable[[], float] = lambda: 120.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.wait_s = 0.0
        self.taken = 0
        self._source = source
        self._convert = convert
        self._first = first
        self._depth = depth
        self._limit_s = limit_s
        self._check = check
        self._ready: deque[Batch] = deque()
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def take(self) -> Batch:
        """Return the next batch.

        Raises:
            TrainerError: None came in time, or one could not be made.
        """
        began = time.perf_counter()
        if not self._ready:
            self._wait(began)
        batch = self._ready.popleft()
        self.taken += 1
        self.wait_s += time.perf_counter() - began
        return batch

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join(10 * _GLANCE_S)

    def _wait(self, began: float) -> None:
        while not self._ready:
            time.sleep(_NAP_S / 2)
            self._check()
            if self._failure is not None:
                raise self._failure
            passed_s = time.perf_counter() - began
            limit_s = self._limit_s()
            if passed_s > limit_s:
                self.wait_s += passed_s
                msg = f"no sample came from the replay buffer for {limit_s:.3g} s"
                raise TrainerError(msg)

    def _run(self) -> None:
        try:
            self._fetch_all()
        except Exception as error:  # noqa: BLE001 - raised where the batch is wanted
            self._failure = error

    def _fetch_all(self) -> None:
        number = self._first
        tickets: deque[tuple[int, Any]] = deque()
        while not self._closed.is_set():
            while len(tickets) < self._depth:
                tickets.append((number, self._source.ask(number)))
                number += 1
            sample = self._source.fetch(tickets[0][1], _GLANCE_S)
            if sample == LATER:
                continue
            if sample == LOST:
                self._closed.wait(_PAUSE_S)
                tickets[0] = (tickets[0][0], self._source.ask(tickets[0][0]))
                continue
            tickets.popleft()
            batch = self._convert(sample)  # type: ignore[arg-type] # a sample by now
            while len(self._ready) >= self._depth and not self._closed.is_set():
                time.sleep(_NAP_S)
            self._ready.append(batch)
