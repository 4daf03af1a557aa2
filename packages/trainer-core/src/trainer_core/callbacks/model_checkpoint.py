"""When checkpoints are saved and how many are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer_core.checkpoint.retention import prune
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from trainer_core.engine.state import RunState

__all__ = ["ModelCheckpoint"]


class ModelCheckpoint:
    """Saves regularly, and keeps the newest ones.

    An experiment without one has it with its defaults. Whatever it says, an interrupted run is
    saved.

    Args:
        every_n_steps: Steps between two saves; None: by time only.
        every_minutes: Minutes between two saves; None: by steps only. Fewer lose less when a
            machine dies and cost more writing.
        keep_last: How many to keep; the newest is never deleted.
        save_last: Whether the last step is saved.

    Raises:
        ValueError: A value is not positive.
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        every_minutes: float | None = 5,
        keep_last: int = 2,
        save_last: bool = True,
    ) -> None:
        for name, value in {
            "every_n_steps": every_n_steps,
            "every_minutes": every_minutes,
            "keep_last": keep_last,
        }.items():
            if value is not None and value <= 0:
                msg = f"{name} must be positive, got {value}"
                raise ValueError(msg)
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self.keep_last = keep_last
        self.save_last = save_last

    @hookimpl
    def trainer_fit_start(self, state: RunState) -> None:
        """Enter the saves into the run's timetable."""

        def save() -> None:
            if state.save() is not None:
                self._prune(state)

        timetable = state.timetable
        if self.every_n_steps is not None:
            timetable.every_steps(self.every_n_steps, save, timetable.SAVE)
        if self.every_minutes is not None:
            timetable.every_seconds(60 * self.every_minutes, save, timetable.SAVE)
        state.save_at_end = state.save_at_end and self.save_last

    @hookimpl
    def trainer_fit_end(self, state: RunState, status: Any) -> None:
        """Delete what the last save made superfluous."""
        if status != "failed":
            self._prune(state)

    def _prune(self, state: RunState) -> None:
        if state.ranks.is_main:
            prune(state.out_dir / "checkpoints", self.keep_last)
