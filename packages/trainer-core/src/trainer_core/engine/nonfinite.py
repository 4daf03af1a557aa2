"""Steps that change no weights: what is done about a loss or gradient that is not finite."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from trainer_core.engine.diagnosis import describe, diagnose, nonfinite_weights
from trainer_core.errors import StorageError, TrainerError
from trainer_core.sampling import order_of
from trainer_core.step import LossTrainer
from trainer_core.storage import make_folder, to_json_text, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.engine.state import RunState
    from trainer_core.step import NonFiniteStep

__all__ = ["Guard", "RollBack"]

_log = logging.getLogger(__name__)

MAX_ROLLBACKS = 3
MAX_SKIPPED_IN_A_ROW = 20
_MAX_REPORTS = 10
_ADVICE = "Try a lower learning rate or trainer.grad_clip_norm"


class RollBack(TrainerError):  # noqa: N818 - a decision, caught by the loop
    """The run goes back to its last checkpoint and leaves out a step.

    Args:
        step: Optimizer steps done before the one to leave out.
        message: What happened in it.
    """

    def __init__(self, step: int, message: str) -> None:
        super().__init__(message)
        self.step = step


class Guard:
    """Decides what becomes of a step that is not finite, and counts those that changed nothing.

    Args:
        state: The run.

    Attributes:
        trainer: Its `is_skipped` says whether the newest step changed no weights.
        skipped_steps: How many there were.
        passed_over: Steps that are left out since a roll-back. The order of samples stays a
            function of the seed, the step and this set.
        rollbacks: How often the run went back.
    """

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.policy = getattr(state.experiment.settings, "on_nonfinite", "stop")
        self.skipped_steps = 0
        self.passed_over: set[int] = set()
        self.rollbacks = 0
        self._reports = 0
        self._in_a_row = 0
        self._last = -1
        self.trainer: Any = SimpleNamespace(is_skipped=False)
        if isinstance(state.trainer, LossTrainer):
            self.trainer = state.trainer
            state.trainer.on_nonfinite = self.handle

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to know, as JSON data."""
        trainer = self.state.trainer
        own = trainer.state_dict() if isinstance(trainer, LossTrainer) else {}
        return {
            "skipped_steps": self.skipped_steps,
            "passed_over": sorted(self.passed_over),
            "rollbacks": self.rollbacks,
            "trainer": own,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.skipped_steps = int(state.get("skipped_steps", 0))
        self.passed_over = set(state.get("passed_over", ()))
        self.rollbacks = int(state.get("rollbacks", 0))
        if isinstance(self.state.trainer, LossTrainer):
            self.state.trainer.load_state_dict(state.get("trainer", {}))

    def numbers(self) -> dict[str, float]:
        """Return what the log line says of it: nothing while every step counted."""
        return {"skipped_steps": float(self.skipped_steps)} if self.skipped_steps else {}

    def pass_over(self) -> dict[str, Any]:
        """Leave a step out; its batch was read."""
        self.trainer.is_skipped = True
        return {}

    def handle(self, failure: NonFiniteStep) -> None:
        """Report a step and do as `trainer.on_nonfinite` says; return to have it skipped.

        Raises:
            TrainerError: The run cannot or shall not go on.
            RollBack: It shall go on from its last checkpoint.
        """
        message = self._report(failure)
        if self.policy == "rollback" and self.rollbacks < MAX_ROLLBACKS:
            raise RollBack(failure.step, message)
        if self.policy == "rollback":
            msg = f"{message}\n  after {MAX_ROLLBACKS} roll-backs: the data are not to blame"
            raise TrainerError(msg)
        if self.policy != "skip":
            raise TrainerError(message)
        self._in_a_row = self._in_a_row + 1 if failure.step == self._last + 1 else 1
        self._last = failure.step
        if self._in_a_row >= MAX_SKIPPED_IN_A_ROW or nonfinite_weights(self.trainer):
            msg = f"{message}\n  skipping does not help: {self._in_a_row} steps in a row"
            raise TrainerError(msg)
        if self._reports <= _MAX_REPORTS:  # later ones are counted in the log line
            _log.warning("step %d is skipped: %s", failure.step + 1, message)

    def go_back(self, failure: RollBack, passed_over: set[int], rollbacks: int) -> None:
        """Leave a step out too, once the state of the checkpoint is loaded.

        Args:
            failure: The step.
            passed_over: What was left out already, which the checkpoint need not know.
            rollbacks: How often the run had gone back.
        """
        self.passed_over = {*passed_over, failure.step}
        self.rollbacks = rollbacks + 1
        _log.warning(
            "back to step %d, without step %d: %s", self.state.step, failure.step + 1, failure
        )

    def check_line(self, record: Mapping[str, float], steps_ago: int) -> None:
        """Refuse a log line whose loss is not finite, where the steps were not looked at.

        Args:
            record: The means since the last line.
            steps_ago: Steps since the first one that was not finite.

        Raises:
            TrainerError: The loss is not finite.
        """
        loss = record.get("loss", 0.0)
        if math.isfinite(loss):
            return
        step = self.state.step - steps_ago
        end = self.state.samples - steps_ago * self.state.experiment.global_batch
        report = {"step": step, "samples": self._samples(end), "metrics": {"loss": str(loss)}}
        hint = (
            "\n  with trainer.on_nonfinite=rollback, each step is looked at, which waits for the "
            "device, and the operation is found"
        )
        is_seen = self.state.device.type == "cpu"
        msg = f"{_headline('loss', loss, step)}{'' if is_seen else hint}"
        msg += self._write(step, report)
        raise TrainerError(msg)

    def _report(self, failure: NonFiniteStep) -> str:
        """Do the step again, write down what is found and return it in words."""
        self._reports += 1
        loss = float(failure.metrics["loss"])
        what, value = ("loss", loss) if not math.isfinite(loss) else ("gradient", math.nan)
        if what == "gradient":
            value = float(failure.metrics["grad_norm"])
        headline = _headline(what, value, failure.step + 1)
        if self._reports > _MAX_REPORTS:
            return headline
        found = diagnose(self.trainer, failure)
        report = {
            "step": failure.step + 1,
            "epoch": failure.epoch,
            "samples": self._samples(self.state.samples + self.state.experiment.global_batch),
            "metrics": {name: str(float(value)) for name, value in failure.metrics.items()},
            **found,
        }
        return f"{headline}{describe(found)}{self._write(failure.step + 1, report)}"

    def _write(self, step: int, report: Mapping[str, Any]) -> str:
        """Write a report on rank 0; return the line that names it."""
        path = self.state.out_dir / "nonfinite" / f"step-{step:09d}.json"
        if self.state.ranks.is_main:
            try:
                make_folder(path.parent)
                write_atomically(path, to_json_text(report))
            except StorageError as error:
                return f"\n  no report: {error}"
        return f"\n  the samples of its batch are in {path}"

    def _samples(self, end: int) -> list[int]:
        """Return the indices of the global batch that ends at a position of the order."""
        state = self.state
        order = order_of(state.experiment.dataset, state.experiment.seed)
        found: list[int] = order.indices(end - state.experiment.global_batch, end).tolist()
        return found


def _headline(what: str, value: float, step: int) -> str:
    return (
        f"the {what} is {value} at step {step}: the training has diverged, or the data has "
        f"values that are not finite. {_ADVICE}"
    )
