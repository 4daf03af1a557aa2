"""When checkpoints are saved and which are kept."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.ranking import Goal, best_steps, point_to_best, values_of
from trainer_core.checkpoint.retention import prune
from trainer_core.errors import StorageError, UserError
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.ranges import Positive, PositiveNumber
    from trainer_core.engine.state import RunState

__all__ = ["ModelCheckpoint"]

_log = logging.getLogger(__name__)


class ModelCheckpoint:
    """Saves regularly, and keeps the newest and the best ones.

    An experiment without one has it with its defaults. Whatever it says, an interrupted run is
    saved. A checkpoint is kept if any of the rules keeps it; the newest always is. A step that
    is among the best when it is measured is saved if it is not yet, and the file
    `checkpoints/BEST` names the best one; with `cb.ema` the averages in it are what was measured.

    Args:
        every_n_steps: Steps between two saves; None: not by steps.
        every_minutes: Minutes between two saves; None: not by time. Fewer lose less when a
            machine dies and cost more writing.
        every_n_epochs: Passes over the data between two saves; None: not by passes.
        keep_last: How many of the newest to keep.
        monitor: Metric of the best ones, `val/<metric>` or `eval/<metric>`; None: none is best.
        mode: Whether less (`min`) or more (`max`) of it is better.
        keep_best: How many of the best to keep.
        keep_every: Keep all whose step is a multiple of this.
        save_last: Whether the last step is saved.
        async_save: Write while the training goes on, from a copy in the CPU's memory as large
            as what is saved; false: without the copy, and the training waits. The last save
            always waits.

    Raises:
        ValueError: A value is not positive, or the metric is not one of a measurement.
    """

    def __init__(
        self,
        every_n_steps: Positive | None = None,
        every_minutes: PositiveNumber | None = 5,
        every_n_epochs: Positive | None = None,
        keep_last: Positive = 2,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        keep_best: Positive = 1,
        keep_every: Positive | None = None,
        save_last: bool = True,
        async_save: bool = True,
    ) -> None:
        for name, value in {
            "every_n_steps": every_n_steps,
            "every_minutes": every_minutes,
            "every_n_epochs": every_n_epochs,
            "keep_last": keep_last,
            "keep_best": keep_best,
            "keep_every": keep_every,
        }.items():
            if value is not None and value <= 0:
                msg = f"{name} must be positive, got {value}"
                raise ValueError(msg)
        if mode not in {"min", "max"}:
            msg = f"mode must be min or max, got {mode!r}"
            raise ValueError(msg)
        if monitor is not None and not monitor.startswith(("val/", "eval/")):
            msg = f"monitor must be val/<metric> or eval/<metric>, got {monitor!r}"
            raise ValueError(msg)
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self.every_n_epochs = every_n_epochs
        self.keep_last = keep_last
        self.goal = None if monitor is None else Goal(monitor, mode)
        self.keep_best = keep_best
        self.keep_every = keep_every
        self.save_last = save_last
        self.async_save = async_save
        self._values: dict[int, float] = {}
        self._wanted_step = -1
        self._is_missing_reported = False

    @hookimpl
    def trainer_fit_start(self, state: RunState) -> None:
        """Enter the saves into the run's timetable; find what is the best so far."""
        if self.goal is not None:
            _require_measurement(state, self.goal.monitor)
            root = state.out_dir / "checkpoints"
            steps = [step for step, _ in list_steps(root) if step <= state.step]
            self._values = values_of(root, self.goal.monitor, steps)

        def save() -> None:
            self._save(state)

        timetable = state.timetable
        if self.every_n_steps is not None:
            timetable.every_steps(self.every_n_steps, save, timetable.SAVE)
        if self.every_n_epochs is not None:
            timetable.at_steps(self._epochs_of(state), save, timetable.SAVE)
        if self.every_minutes is not None:
            timetable.every_seconds(60 * self.every_minutes, save, timetable.SAVE)
        every = state.experiment.settings.val_every_n_steps
        if self.goal is not None and every is not None:
            timetable.every_steps(every, lambda: self._save_if_wanted(state), timetable.SAVE)
        state.save_at_end = state.save_at_end and self.save_last

    @hookimpl
    def trainer_measured(self, state: RunState, metrics: Mapping[str, Any]) -> None:
        """Rank the step that was measured; save it if it is among the best."""
        goal = self.goal
        if goal is None:
            return
        kind = goal.monitor.partition("/")[0]
        value = metrics.get(goal.monitor)
        if value is None and any(name.startswith(f"{kind}/") for name in metrics):
            self._report_missing(metrics)
        is_wanted = False
        if value is not None:
            self._values[state.step] = float(value)
            is_wanted = (
                state.step in best_steps(self._kept_values(state), goal.mode)[: self.keep_best]
            )
        if state.ranks.any(is_wanted):
            self._wanted_step = state.step
            if kind == "eval":  # a validation comes before the log line, which comes before a save
                self._save_if_wanted(state)

    @hookimpl
    def trainer_fit_end(self, state: RunState, status: Any) -> None:
        """Delete what the last save made superfluous."""
        if status != "failed":
            self._save_if_wanted(state, wait=True)
            self._tidy(state)

    def _save_if_wanted(self, state: RunState, *, wait: bool = False) -> None:
        if self._wanted_step == state.step:
            self._wanted_step = -1
            self._save(state, wait=wait)

    def _save(self, state: RunState, *, wait: bool = False) -> None:
        state.save(wait=wait or not self.async_save, then=lambda: self._tidy(state))

    def _kept_values(self, state: RunState) -> dict[int, float]:
        """Return the values of the checkpoints that there are, and of this step."""
        there = {step for step, _ in list_steps(state.out_dir / "checkpoints")} | {state.step}
        return {step: value for step, value in self._values.items() if step in there}

    def _tidy(self, state: RunState) -> None:
        """Name the best checkpoint and delete what no rule keeps."""
        if not state.ranks.is_main:
            return
        root = state.out_dir / "checkpoints"
        values = dict(self._values)
        there = [step for step, _ in list_steps(root)]
        every = self.keep_every
        kept = [step for step in there if every is not None and step % every == 0]
        if self.goal is not None:
            ranked = best_steps({s: v for s, v in values.items() if s in there}, self.goal.mode)
            kept += ranked[: self.keep_best]
            try:
                point_to_best(root, self.goal, values)
            except StorageError as exc:
                _log.warning("the best checkpoint is not marked: %s", exc)
        prune(root, self.keep_last, keep_steps=kept)

    def _report_missing(self, metrics: Mapping[str, Any]) -> None:
        if self.goal is None or self._is_missing_reported:
            return
        self._is_missing_reported = True
        monitor = self.goal.monitor
        near = get_close_matches(monitor, metrics, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        _log.warning(
            "cb.model_checkpoint: %r was not measured: no checkpoint is the best; there are %s%s",
            monitor,
            ", ".join(sorted(metrics)),
            hint,
        )

    def _epochs_of(self, state: RunState) -> Any:
        batch = state.experiment.global_batch
        period = (self.every_n_epochs or 1) * state.samples_per_epoch

        def next_after(step: int) -> int:
            samples = state.samples + (step - state.step) * batch
            return step + -(-(period - samples % period) // batch)

        return next_after


def _require_measurement(state: RunState, monitor: str) -> None:
    """Refuse a metric that no validation and no evaluation can give.

    Raises:
        UserError: There is none of the kind that the metric is of.
    """
    if monitor.startswith("val/") and state.experiment.val_dataset is None:
        msg = f"cb.model_checkpoint: monitor is {monitor!r}, and the data has no validation split"
        raise UserError(msg)
    if monitor.startswith("eval/") and state.experiment.evaluator is None:
        msg = f"cb.model_checkpoint: monitor is {monitor!r}, and there is no evaluation: section"
        raise UserError(msg)
