"""Saves the run, and finds out where to go on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from trainer_core.checkpoint.layout import step_name
from trainer_core.checkpoint.snapshot import (
    load_payload,
    restore_counters,
    restore_training,
    take_snapshot,
)
from trainer_core.checkpoint.writer import (
    abandon_checkpoint,
    begin_checkpoint,
    commit_checkpoint,
    sweep,
)
from trainer_core.engine.provenance import warn_of_other_wheels
from trainer_core.errors import StorageError, TrainerError
from trainer_core.storage import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.engine.runfolder import RunFolder
    from trainer_core.engine.state import RunState

__all__ = ["Saver"]

_log = logging.getLogger(__name__)


class Saver:
    """Writes the checkpoints of one run.

    Args:
        state: The run.
        folder: Its folder.
        loop_state: Returns the loop's own counters as JSON data.
    """

    def __init__(
        self, state: RunState, folder: RunFolder, loop_state: Callable[[], dict[str, Any]]
    ) -> None:
        self.state = state
        self.folder = folder
        self.loop_state = loop_state
        self.saved_step: int | None = None

    def restore(self, checkpoint: Checkpoint, *, is_chosen: bool = False) -> None:
        """Put models, optimizers and schedules where the checkpoint has them.

        Args:
            checkpoint: Where the run goes on.
            is_chosen: The user named it, and may go on with other data.

        Raises:
            CheckpointError: It is of another model, or was trained on other data.
        """
        restore_training(self.state, checkpoint, is_chosen=is_chosen)

    def restore_rest(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Put callbacks, counters and generators there too; return the loop's counters."""
        self.state.experiment.hooks.call(
            "trainer_checkpoint_load",
            state=self.state,
            payload=load_payload(checkpoint),
            path=checkpoint.path,
        )
        counters = restore_counters(self.state, checkpoint)
        self.saved_step = self.folder.own_step(checkpoint)
        warn_of_other_wheels(checkpoint.path, self.folder.texts.get("plugins.json"))
        return counters

    def clean(self) -> None:
        """Remove what killed processes left half-written."""
        if self.state.ranks.is_main:
            sweep(self.folder.checkpoints)

    def save_if_possible(self) -> Path | None:
        """Save this step; a disk that refuses is reported and the training goes on.

        Returns:
            The checkpoint; None if it could not be written. The next save tries again.
        """
        try:
            return self.save()
        except StorageError as exc:
            _log.warning("checkpoint of step %d not saved: %s", self.state.step, exc)
            return None

    def save(self) -> Path:
        """Save this step, unless it is saved already; return the checkpoint.

        Raises:
            StorageError: The disk refuses; older checkpoints are intact.
            TrainerError: A weight is not finite; older checkpoints are intact.
        """
        state = self.state
        final = self.folder.checkpoints / step_name(state.step)
        if self.saved_step == state.step and final.is_dir():
            return final
        if state.ranks.is_main:
            self._write()
        state.ranks.barrier()
        self.saved_step = state.step
        return final

    def _write(self) -> None:
        state = self.state
        _require_finite(state)
        temporary = begin_checkpoint(self.folder.checkpoints, state.step)
        try:
            payload: dict[str, Any] = {}
            with storage_errors(self.folder.checkpoints / step_name(state.step)):
                state.experiment.hooks.call(
                    "trainer_checkpoint_save", state=state, payload=payload, path=temporary
                )
            snapshot = take_snapshot(state, payload, self.folder.texts, self.loop_state())
        except BaseException:
            abandon_checkpoint(temporary)
            raise
        commit_checkpoint(temporary, snapshot)


def _require_finite(state: RunState) -> None:
    """Weights that are not finite never get better; they must not replace good ones."""
    trained = [(name, p) for name, p in state.models.named_parameters() if p.requires_grad]
    if not trained or torch.stack([p.detach().isfinite().all() for _, p in trained]).all():
        return
    bad = next(name for name, p in trained if not p.detach().isfinite().all())
    msg = (
        f"weights are not finite after step {state.step}, such as {bad}: the training has "
        "diverged, and this step is not saved"
    )
    raise TrainerError(msg)
