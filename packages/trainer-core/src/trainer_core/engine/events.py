"""What happens between two steps: log lines, validation, evaluation, epochs, the time limit."""

from __future__ import annotations

import logging
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from trainer_core.engine.measuring import evaluate, validate
from trainer_core.engine.metrics import MetricWindow, numbers_of
from trainer_core.step import Phases

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainer_core.engine.nonfinite import Guard
    from trainer_core.engine.progress import Progress
    from trainer_core.engine.runfolder import RunFolder
    from trainer_core.engine.state import RunState
    from trainer_core.loggers.fanout import Loggers
    from trainer_core.optim import ScheduleHandle

__all__ = ["Events"]

_log = logging.getLogger(__name__)


class Events:
    """The engine's own entries in the timetable of a run.

    Attributes:
        window: Metrics of the steps since the last log line.
        rates: Learning rate that the last step used, for each optimizer.
        data_s: Seconds spent on waiting for data since the last log line.
        step_s: Seconds spent on steps since the last log line, data included.
        flops_share: Operations of a step as a share of what the device could do in a second; 0:
            not known.
    """

    def __init__(
        self,
        state: RunState,
        folder: RunFolder,
        progress: Progress,
        loggers: Loggers,
        guard: Guard,
    ) -> None:
        self.guard = guard
        self.state = state
        self.folder = folder
        self.progress = progress
        self.loggers = loggers
        self.window = MetricWindow(getattr(state.trainer, "metric_reductions", {}))
        self.rates: list[float] = []
        self.data_s = 0.0
        self.step_s = 0.0
        self.flops_share = 0.0
        self._timed_from = state.step
        self._validation: dict[str, float] = {}
        self._validated_step = -1
        self._evaluated_step = -1
        self._ended_step = -1
        self._resting: set[str | None] = set()
        self._interrupted: Callable[[], bool] = lambda: False

    def state_dict(self) -> dict[str, Any]:
        """Return what the next log line will need, as JSON data; all ranks ask together."""
        return {
            "window": self.window.state_dict(self.state.ranks),
            "rates": list(self.rates),
            "validated_step": self._validated_step,
            "evaluated_step": self._evaluated_step,
            "ended_step": self._ended_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with an unfinished log line; its speed is that of the steps still to come."""
        self._timed_from, self.data_s, self.step_s = self.state.step, 0.0, 0.0
        self._take_phases(1)
        self.window.load_state_dict(state["window"])
        self.rates = [float(rate) for rate in state["rates"]]
        self._validated_step = int(state["validated_step"])
        self._evaluated_step = int(state.get("evaluated_step", -1))
        self._ended_step = int(state.get("ended_step", -1))

    def schedule(self, elapsed_s: Callable[[], float]) -> None:
        """Enter everything that the experiment asks for."""
        state, experiment, settings = (
            self.state,
            self.state.experiment,
            self.state.experiment.settings,
        )
        timetable = state.timetable
        self._timed_from = state.step
        if settings.val_every_n_steps is not None:
            timetable.every_steps(settings.val_every_n_steps, self.validate, timetable.VALIDATE)
        # The last step is measured and logged before it is saved: its checkpoint knows that it was.
        if experiment.val_dataset is not None:
            timetable.at_steps(lambda _: state.total_steps, self.validate, timetable.VALIDATE)
        if state.total_steps % settings.log_every_n_steps:
            timetable.at_steps(lambda _: state.total_steps, self.log, timetable.LOG)
        timetable.every_steps(settings.log_every_n_steps, self.log, timetable.LOG)
        if experiment.evaluator is not None and experiment.evaluate_every:
            timetable.every_steps(experiment.evaluate_every, self.evaluate, timetable.EVALUATE)
        timetable.at_steps(self._end_of_epoch, self.end_epoch, timetable.LATER)
        if settings.max_time_s is not None:
            left_s = settings.max_time_s - elapsed_s()
            if left_s > 0:
                stop = partial(state.stop, "max_time_s")
                timetable.every_seconds(left_s, stop, timetable.VALIDATE)
            else:
                state.stop("max_time_s")

    def catch_up(self, interrupted: Callable[[], bool] | Any) -> None:
        """Do what was due at the step a run goes on from and came after its checkpoint."""
        self._interrupted = self._poll(interrupted)
        state, every = self.state, self.state.experiment.evaluate_every
        due = state.step and every and state.step % every == 0 and state.step < state.total_steps
        if due and state.experiment.evaluator is not None:
            self.evaluate()
        if state.samples % state.samples_per_epoch < state.experiment.global_batch:
            if state.step and self._ended_step != state.step:
                with warnings.catch_warnings():  # torch counts the optimizer's steps by process
                    warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
                    self.end_epoch()
            else:
                state.experiment.hooks.call("trainer_epoch_start", state=state)

    def log(self) -> None:
        """Write the means of the window, the learning rates and the speed.

        Raises:
            TrainerError: The loss is not finite any more.
        """
        state = self.state
        steps = max(1, state.step - self._timed_from)
        record = self.window.mean(state.ranks)
        self.guard.check_line(record, self.window.steps_since_bad)
        record |= self._take_validation()
        names = list(state.optimizers)
        labels = ["lr"] if len(names) == 1 else [f"lr/{name}" for name in names]
        record |= dict(zip(labels, self.rates, strict=False)) | self.guard.numbers()
        if self.step_s:
            record["data_s"] = self.data_s / steps
            record["step_s"] = self.step_s / steps
            record["data_share"] = self.data_s / self.step_s
            record |= self._take_phases(steps)
            if self.flops_share:
                record["mfu"] = self.flops_share * steps / self.step_s
            record["samples_per_s"] = state.experiment.global_batch * steps / self.step_s
        self.data_s = self.step_s = 0.0
        self._timed_from = state.step
        for gauge in state.gauges if state.ranks.is_main else ():
            record |= gauge()
        self._write(record)

    def _take_phases(self, steps: int) -> dict[str, float]:
        """Return where the time of a step goes; other devices than the CPU run behind the host."""
        phases = getattr(self.state.trainer, "phases", None)
        if not isinstance(phases, Phases) or self.state.device.type != "cpu":
            return {}
        return phases.take(steps)

    def log_rest(self) -> None:
        """Validate and log what no log line has had yet: the run ends before its last step."""
        if self.state.experiment.val_dataset is not None:
            self.validate()
        if self.window:
            self.log()
        elif self._validation:
            self._write(self._take_validation())

    def validate(self) -> None:
        """Measure on the validation split; its numbers stand in the log line of this step."""
        state = self.state
        if self._validated_step == state.step:
            return
        metrics = validate(state, self._interrupted, self.progress)
        if metrics:
            self._validated_step = state.step
            self._validation = metrics
            state.metrics |= metrics
            self._step_metric_schedules(metrics)
            if state.step % state.experiment.settings.log_every_n_steps and not self._is_last():
                self._write(self._take_validation())
        state.experiment.hooks.call("trainer_measured", state=state, metrics=metrics)

    def evaluate(self) -> None:
        """Measure the policy, unless this step's evaluation is done or comes at the end."""
        if not self._is_last():
            self._evaluate(final=False)

    def measure_at_end(self, interrupted: Callable[[], bool] | Any) -> None:
        """Do the evaluation at the end of the run."""
        self._interrupted = self._poll(interrupted)
        if self.state.experiment.evaluator is not None:
            self._evaluate(final=True)

    def end_epoch(self) -> None:
        """Step the schedules of epochs and tell the hooks."""
        state, hooks = self.state, self.state.experiment.hooks
        self._ended_step = state.step
        for handle in state.schedules.values():
            if handle.interval == "epoch":
                handle.scheduler.step()
        hooks.call("trainer_epoch_end", state=state)
        if not self._is_last():
            hooks.call("trainer_epoch_start", state=state)

    def _evaluate(self, *, final: bool) -> None:
        state = self.state
        settings = state.experiment.evaluation_settings
        with state.pause():  # an evaluator is watched from the first time it polls on
            result = state.ranks.on_main(lambda: self.folder.read_evaluation(state.step, settings))
            is_new = result is None
            if is_new:
                result = evaluate(state, self.folder, self.progress, self._interrupted, final=final)
        numbers = numbers_of(result or {}, "eval/")
        if is_new and result is not None:
            self._write(numbers)
        if result is not None:
            state.evaluation = result
            if self._evaluated_step != state.step:  # a checkpoint may know of it already
                self._evaluated_step = state.step
                self._step_metric_schedules(numbers)
        state.experiment.hooks.call("trainer_measured", state=state, metrics=numbers)

    def _poll(self, interrupted: Any) -> Callable[[], bool]:
        """Return what tells whether the run is interrupted, and the watchdog that it goes on."""
        beat = self.state.beat

        def poll() -> bool:
            beat()
            return bool(interrupted)

        return poll

    def _step_metric_schedules(self, metrics: dict[str, float]) -> None:
        for handle in self.state.schedules.values():
            if handle.interval != "metric" or handle.monitor is None:
                continue
            kind = handle.monitor.partition("/")[0]
            if handle.monitor in metrics:
                handle.scheduler.step(metrics[handle.monitor])
            elif any(name.startswith(f"{kind}/") for name in metrics) and self._is_new(handle):
                there = ", ".join(sorted(metrics))
                _log.warning(
                    "a schedule rests: %r was not measured; there are %s", handle.monitor, there
                )

    def _is_new(self, handle: ScheduleHandle) -> bool:
        """Whether nothing was said of a schedule yet."""
        is_new = handle.monitor not in self._resting
        self._resting.add(handle.monitor)
        return is_new

    def _write(self, record: dict[str, float]) -> None:
        state = self.state
        state.metrics |= record
        if not state.ranks.is_main:
            return
        where = {"epoch": state.samples / state.samples_per_epoch, "samples": state.samples}
        self.loggers.log({**where, **record}, state.step)
        self.progress.show_metrics(record)
        state.experiment.hooks.call_guarded("trainer_log", metrics=record, step=state.step)

    def _take_validation(self) -> dict[str, float]:
        taken, self._validation = self._validation, {}
        return taken

    def _is_last(self) -> bool:
        return self.state.step >= self.state.total_steps or self.state.should_stop

    def _end_of_epoch(self, step: int) -> int:
        """Return the first step after `step` in which a pass over the data is completed."""
        state = self.state
        batch, size = state.experiment.global_batch, state.samples_per_epoch
        samples = state.samples + (step - state.step) * batch
        return step + -(-(size - samples % size) // batch)
