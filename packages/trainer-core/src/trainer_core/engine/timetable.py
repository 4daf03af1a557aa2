"""When things happen: one comparison per step tells that nothing is due."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.ranks import Ranks

__all__ = ["Timetable"]


class _StepEntry(NamedTuple):
    order: int
    next_after: Callable[[int], int]
    action: Callable[[], object]


class _Timer:
    __slots__ = ("action", "due", "is_shared", "order", "period_s")

    def __init__(
        self, order: int, period_s: float, action: Callable[[], object], *, is_shared: bool
    ) -> None:
        self.order = order
        self.period_s = period_s
        self.action = action
        self.is_shared = is_shared
        self.due = time.perf_counter() + period_s


class Timetable:
    """Actions at certain steps and at certain times, in a fixed order within a step.

    Attributes:
        next_step: The next step at which something is due.
        next_time: The next time, on the clock of `time.perf_counter`, likewise.
    """

    VALIDATE, LOG, SAVE, EVALUATE, LATER = range(5)
    """The order of actions that are due at the same step."""

    def __init__(self) -> None:
        self.next_step: float = math.inf
        self.next_time: float = math.inf
        self._entries: list[_StepEntry] = []
        self._timers: list[_Timer] = []
        self._checks: list[Callable[[], object]] = []

    def every_steps(self, period: int, action: Callable[[], object], order: int = LATER) -> None:
        """Call an action after every `period`-th step of the run."""
        self.at_steps(lambda step: step + period - step % period, action, order)

    def at_steps(
        self, next_after: Callable[[int], int], action: Callable[[], object], order: int = LATER
    ) -> None:
        """Call an action after the steps that `next_after(step)` names, one after the other."""
        self._entries.append(_StepEntry(order, next_after, action))
        self._entries.sort(key=lambda entry: entry.order)

    def every_seconds(
        self,
        period_s: float,
        action: Callable[[], object],
        order: int = LATER,
        *,
        shared: bool = True,
    ) -> None:
        """Call an action about every `period_s` seconds, after a step.

        Args:
            period_s: Time between two calls, in seconds.
            action: What to call.
            order: Its place among what is due at the same step.
            shared: Every rank enters it, and calls it after the same step. False: this rank alone
                has it, and the action must not wait for others.
        """
        self._timers.append(_Timer(order, period_s, action, is_shared=shared))
        self._timers.sort(key=lambda timer: timer.order)

    def on_wake(self, check: Callable[[], object]) -> None:
        """Call something before whatever is due, and soon after each `wake`."""
        self._checks.append(check)

    def start(self, step: int, last_step: int) -> None:
        """Compute what is due next; the last step of the run counts as due."""
        following = [entry.next_after(step) for entry in self._entries]
        self.next_step = min([*following, last_step])
        self._set_alarm()

    def wake(self) -> None:
        """Make something due at once; safe in a signal handler."""
        self.next_time = 0.0

    def run_due(self, step: int, last_step: int, ranks: Ranks) -> None:
        """Call what is due after a step, in order; what is agreed on happens on every rank."""
        for check in self._checks:
            check()
        now = time.perf_counter()
        due = [
            (entry.order, entry.action)
            for entry in self._entries
            if entry.next_after(step - 1) == step
        ]
        for timer in self._timers:
            is_due = now >= timer.due
            if ranks.any(is_due) if timer.is_shared else is_due:
                due.append((timer.order, timer.action))
                timer.due = now + timer.period_s
        for _, action in sorted(due, key=lambda item: item[0]):
            action()
        self.start(step, last_step)

    def _set_alarm(self) -> None:
        self.next_time = min([timer.due for timer in self._timers], default=math.inf)
