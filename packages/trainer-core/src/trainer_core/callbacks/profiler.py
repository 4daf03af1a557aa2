"""Where the time of a step goes: a trace of a few steps, and a table of its operators."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from torch.profiler import ProfilerActivity, profile

from trainer_core.errors import StorageError
from trainer_core.hookspecs import hookimpl
from trainer_core.storage import make_folder, storage_errors, write_atomically

if TYPE_CHECKING:
    from policy_constructor.ranges import Count, Positive
    from trainer_core.engine.state import RunState

__all__ = ["Profiler"]

_log = logging.getLogger(__name__)

_NEVER = 2**62
_MOST_STEPS = 100
_ROWS = 40


class Profiler:
    """Traces a few steps with `torch.profiler`, on rank 0.

    Writes `profile/steps-000000010-000000015.trace.json.gz` in the run folder, for
    https://ui.perfetto.dev or chrome://tracing, and a table of the operators that cost most beside
    it, as `.txt`. The traced steps are slower; what they compute is the same. A run that goes on
    from a later step traces nothing.

    Args:
        from_step: Steps done before the first traced one. The very first steps are slower than
            the rest: 10 leaves them out.
        steps: How many are traced, at most 100: a step of a small model is about 1 MB of trace
            before compression, a large model's tens of MB.
        record_shapes: Whether the shapes of operands are recorded too.
        profile_memory: Whether allocations are recorded too.
        with_stack: Whether the lines of source are recorded too; makes the steps much slower.

    Raises:
        ValueError: `steps` is not from 1 to 100.
    """

    def __init__(
        self,
        from_step: Count = 10,
        steps: Positive = 5,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
    ) -> None:
        if not 1 <= steps <= _MOST_STEPS:
            msg = f"steps must be from 1 to {_MOST_STEPS}, got {steps}"
            raise ValueError(msg)
        if from_step < 0:
            msg = f"from_step must be at least 0, got {from_step}"
            raise ValueError(msg)
        self.from_step = from_step
        self.steps = steps
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self._profile: Any = None
        self._began_s = 0.0

    @hookimpl
    def trainer_fit_start(self, state: RunState) -> None:
        """Enter the begin and the end into the timetable, on every rank."""
        begin, end = self.from_step, self.from_step + self.steps
        if state.step > begin:
            _log.info("profiler: step %d has passed, nothing is traced", begin)
            return
        if state.step == begin:
            self._start(state)
        else:
            _at_step(state, begin, lambda: self._start(state))
        _at_step(state, end, lambda: self._finish(state))

    @hookimpl
    def trainer_fit_end(self, state: RunState) -> None:
        """Write what was traced of a run that ends early."""
        self._finish(state)

    def _start(self, state: RunState) -> None:
        if not state.ranks.is_main or state.step >= state.total_steps or self._profile is not None:
            return  # it runs already where the run went back to an earlier step
        activities = [ProfilerActivity.CPU]
        if state.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(
            activities=activities,
            record_shapes=self.record_shapes,
            profile_memory=self.profile_memory,
            with_stack=self.with_stack,
        )
        self._profile.start()
        self._began_s = time.perf_counter()

    def _finish(self, state: RunState) -> None:
        if self._profile is None:
            return
        traced, self._profile = self._profile, None
        elapsed_s = time.perf_counter() - self._began_s
        traced.stop()
        stem = f"steps-{self.from_step:09d}-{state.step:09d}"
        folder = state.out_dir / "profile"
        on_device = state.device.type == "cuda"
        order = "self_device_time_total" if on_device else "self_cpu_time_total"
        table = traced.key_averages().table(
            sort_by=order, row_limit=_ROWS, max_name_column_width=60
        )
        count = state.step - self.from_step
        head = f"{count} steps, {elapsed_s:.3f} s with the profiler's own cost\n\n"
        try:
            trace = make_folder(folder) / f"{stem}.trace.json.gz"
            with storage_errors(trace):
                traced.export_chrome_trace(str(trace))
            write_atomically(folder / f"{stem}.txt", head + table)
        except StorageError as exc:
            _log.warning("profiler: %s", exc)


def _at_step(state: RunState, step: int, action: Any) -> None:
    timetable = state.timetable
    timetable.at_steps(lambda now: step if now < step else _NEVER, action, timetable.LATER)
