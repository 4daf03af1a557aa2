"""Ends a run whose measurements no longer get better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from policy_constructor.errors import ConfigError, Problem
from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.errors import UserError
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from policy_constructor.ranges import NonNegative, Positive
    from trainer_core.engine.state import RunState
    from trainer_core.experiment.schema import ExperimentConfig

__all__ = ["EarlyStopping"]

_SHOWN = 12


class EarlyStopping:
    """Ends the run when a metric has not become better for several checks.

    A check is a validation (`val/...`) or an evaluation (`eval/...`), each time one is due; a
    value that is not finite is no better. The run ends as if it were complete: saved, measured a
    last time, with `stop_reason` in `summary.json`. The best value and the checks since are saved
    and resumed; with a larger `patience` a stopped run goes on.

    Args:
        monitor: The metric, such as `val/loss` or `eval/success_rate`.
        mode: Whether smaller (`min`) or larger (`max`) is better.
        patience: Checks in a row without a better value after which the run ends. More: surer
            that nothing is left to gain, and more steps in vain; 5 to 20 usually.
        min_delta: How much better a value must be to count.
        stopping_threshold: End at once when the value is at least this good; None: never.

    Raises:
        ValueError: `monitor` is neither of a validation nor of an evaluation, or a number is
            out of its range.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        patience: Positive = 5,
        min_delta: NonNegative = 0.0,
        stopping_threshold: float | None = None,
    ) -> None:
        if not monitor.startswith(("val/", "eval/")):
            hint = did_you_mean([f"val/{monitor}", f"eval/{monitor}"])
            msg = f"monitor is 'val/<metric>' or 'eval/<metric>', not {monitor!r}{hint}"
            raise ValueError(msg)
        if mode not in {"min", "max"}:
            msg = f"mode is 'min' or 'max', not {mode!r}"
            raise ValueError(msg)
        if patience < 1 or min_delta < 0:
            msg = "patience must be at least 1 and min_delta at least 0"
            raise ValueError(msg)
        self.monitor = monitor
        self.mode = mode
        self.patience = patience
        self.min_delta = min_delta
        self.stopping_threshold = stopping_threshold
        self.best: float | None = None
        self.last: float | None = None
        self.bad_checks = 0
        self.checked_step = -1

    @hookimpl
    def trainer_configure(self, config: ExperimentConfig) -> None:
        """Refuse a file that never measures the metric before its end.

        Raises:
            ConfigError: It does not.
        """
        if self.monitor.startswith("val/"):
            is_measured, cure = config.trainer.val_every_n_steps, "set trainer.val_every_n_steps"
        else:
            is_measured = config.evaluation is not None and config.evaluation.every
            cure = "set evaluation.every"
        if not is_measured:
            message = f"early_stopping watches {self.monitor!r}, measured only at the end; {cure}"
            raise ConfigError(Problem(message, path="callbacks", code="no-check"))

    @hookimpl
    def trainer_fit_start(self, state: RunState) -> None:
        """Stop at once where the checkpoint was already due to stop."""
        self._stop_if_due(state)

    @hookimpl
    def trainer_measured(self, state: RunState, metrics: Mapping[str, Any]) -> None:
        """Compare the newest value with the best; stop on every rank if rank 0 says so.

        Raises:
            UserError: Nothing of this name was measured.
        """
        if metrics and state.ranks.is_main and self._is_due(state, metrics):
            if self.monitor not in metrics:
                raise UserError(self._unknown(metrics))
            self._compare(float(metrics[self.monitor]), state.step)
        self._stop_if_due(state)

    @hookimpl
    def trainer_checkpoint_save(self, payload: dict[str, Any]) -> None:
        """Save the best value and the checks since."""
        saved = payload.setdefault("early_stopping", {})
        saved[f"{self.monitor} {self.mode}"] = {
            "best": self.best,
            "last": self.last,
            "bad_checks": self.bad_checks,
            "checked_step": self.checked_step,
        }

    @hookimpl
    def trainer_checkpoint_load(
        self, state: RunState, payload: Mapping[str, Any], path: Path
    ) -> None:
        """Go on counting; a checkpoint that knows nothing of this metric begins anew."""
        del state, path
        saved = payload.get("early_stopping", {}).get(f"{self.monitor} {self.mode}")
        if saved is not None:
            self.best, self.last = saved["best"], saved["last"]
            self.bad_checks = int(saved["bad_checks"])
            self.checked_step = int(saved["checked_step"])

    def _is_due(self, state: RunState, metrics: Mapping[str, Any]) -> bool:
        """Whether this is a check: of the right kind, not counted yet, and at its interval.

        A validation at the end of a run that is to go on later is not one.
        """
        kind = self.monitor.partition("/")[0]
        experiment = state.experiment
        every = (
            experiment.settings.val_every_n_steps if kind == "val" else experiment.evaluate_every
        )
        is_kind = any(name.startswith(f"{kind}/") for name in metrics)
        is_at_interval = bool(every) and state.step % every == 0
        return is_kind and is_at_interval and state.step > self.checked_step

    def _compare(self, value: float, step: int) -> None:
        self.checked_step = step
        self.last = value if math.isfinite(value) else None
        sign = 1 if self.mode == "min" else -1
        is_better = self.last is not None and (
            self.best is None or sign * (self.best - value) > self.min_delta
        )
        if is_better:
            self.best, self.bad_checks = value, 0
        else:
            self.bad_checks += 1

    def _stop_if_due(self, state: RunState) -> None:
        reason = self._reason()
        if state.ranks.any(bool(reason) and state.ranks.is_main):
            state.stop(reason or f"early_stopping: {self.monitor}")

    def _reason(self) -> str:
        threshold = self.stopping_threshold
        sign = 1 if self.mode == "min" else -1
        if threshold is not None and self.last is not None and sign * (threshold - self.last) >= 0:
            return f"early_stopping: {self.monitor} {self.last:.4g} reached {threshold:.4g}"
        if self.bad_checks < self.patience:
            return ""
        best = "never finite" if self.best is None else f"best {self.best:.4g}"
        return f"early_stopping: {self.monitor} not better for {self.bad_checks} checks ({best})"

    def _unknown(self, metrics: Mapping[str, Any]) -> str:
        near = did_you_mean(nearest(self.monitor, metrics))
        names = ", ".join(sorted(metrics)[:_SHOWN])
        return f"early_stopping watches {self.monitor!r}, measured were {names}{near}"
