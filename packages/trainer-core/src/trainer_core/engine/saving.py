"""Saves the run, and finds out where to go on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from trainer_core.checkpoint.background import BackgroundWriter
from trainer_core.checkpoint.layout import step_name
from trainer_core.checkpoint.shadow import Shadow, borrow, with_whole
from trainer_core.checkpoint.snapshot import (
    load_payload,
    restore_counters,
    restore_training,
    take_snapshot,
)
from trainer_core.checkpoint.transfer import Beginning
from trainer_core.checkpoint.writer import (
    Snapshot,
    abandon_checkpoint,
    begin_checkpoint,
    commit_checkpoint,
    sweep,
)
from trainer_core.engine.provenance import warn_of_other_libraries, warn_of_other_wheels
from trainer_core.errors import StorageError, TrainerError
from trainer_core.shards import gather_whole, in_place, is_sharded, own_part
from trainer_core.storage import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.checkpoint.shadow import Stage
    from trainer_core.engine.runfolder import RunFolder
    from trainer_core.engine.state import RunState

__all__ = ["Saver"]

_log = logging.getLogger(__name__)


class Saver:
    """Writes the checkpoints of one run.

    Args:
        state: The run.
        folder: Its folder.
        loop_state: Returns the loop's own counters as JSON data; all ranks ask together.

    Attributes:
        saved_step: The step of the newest checkpoint that this run wrote or went on from here.
        origin: The checkpoint that the run went on from when it started.
    """

    def __init__(
        self, state: RunState, folder: RunFolder, loop_state: Callable[[], dict[str, Any]]
    ) -> None:
        self.state = state
        self.folder = folder
        self.loop_state = loop_state
        self.saved_step: int | None = None
        self.origin: Checkpoint | None = None
        self._is_chosen = False
        self._beginning = Beginning(state.optimizers, state.schedules)
        self._background = BackgroundWriter(on_error=state.timetable.wake)
        self._shadow: Shadow | None = None
        state.timetable.on_wake(self._background.check)

    def restore(self, checkpoint: Checkpoint, *, is_chosen: bool = False) -> None:
        """Put models, optimizers and schedules where the checkpoint has them.

        Args:
            checkpoint: Where the run goes on.
            is_chosen: The user named it, and may go on with other data.

        Raises:
            CheckpointError: It is of another model, or was trained on other data.
        """
        restore_training(self.state, checkpoint, is_chosen=is_chosen)
        self.origin, self._is_chosen = checkpoint, is_chosen

    def go_back(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Put everything where a checkpoint has it, while the run trains.

        Args:
            checkpoint: Of this run, or the `origin` that it went on from: what was allowed to
                differ then may differ now.

        Returns:
            The loop's counters.
        """
        self._beginning.return_to()
        restore_training(self.state, checkpoint, is_chosen=self._is_chosen)
        return self.restore_rest(checkpoint)

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
        warn_of_other_libraries(checkpoint.path, self.folder.texts.get("environment.json"))
        return counters

    def clean(self) -> None:
        """Remove what killed processes left half-written."""
        if self.state.ranks.is_main:
            sweep(self.folder.checkpoints)

    def save_if_possible(
        self, *, wait: bool = True, then: Callable[[], None] = lambda: None
    ) -> Path | None:
        """Save this step; a disk that refuses is reported and the training goes on.

        Args:
            wait: Whether to return only when it is written. Else its tensors are copied now and
                written while the training goes on, one save at a time: a save that comes sooner
                waits for the one before it.
            then: Called when the checkpoint is whole, in the thread that wrote it.

        Returns:
            The checkpoint, which may be still to be written; None if it could not be. The next
            save tries again.
        """
        try:
            return self._save(wait=wait, then=then)
        except StorageError as exc:
            self._report(self.state.step, exc)
            return None

    def save(self) -> Path:
        """Save this step, unless it is saved already; return the checkpoint.

        Raises:
            StorageError: The disk refuses; older checkpoints are intact.
            TrainerError: A weight is not finite; older checkpoints are intact.
        """
        return self._save(wait=True, then=lambda: None)

    def finish(self) -> None:
        """Wait for the save that is under way.

        Raises:
            BaseException: What went wrong in it, but for a disk that refuses: that was reported.
        """
        self._background.join()

    def _save(self, *, wait: bool, then: Callable[[], None]) -> Path:
        final = self.folder.checkpoints / step_name(self.state.step)
        ranks = self.state.ranks
        loop = self.loop_state()  # of all ranks together
        whole: dict[int, Tensor] = {}
        if ranks.is_sharded:
            ranks.on_main(self._background.join)  # its tensors go before others come
            _require_finite(self.state)
            whole = gather_whole(_sharded_tensors(self.state), keep=ranks.is_main)
        ranks.on_main(lambda: self._save_on_main(final, loop, whole, wait=wait, then=then))
        self.state.beat()
        return final

    def _save_on_main(
        self,
        final: Path,
        loop: Mapping[str, Any],
        whole: Mapping[int, Tensor],
        *,
        wait: bool,
        then: Callable[[], None],
    ) -> None:
        state = self.state
        self._background.join()
        self.folder.require_place()
        if self.saved_step == state.step and final.is_dir():
            then()
            return
        if wait:
            stage = self._shadow.copy if self._shadow else borrow
            temporary, snapshot = self._gather(loop, stage, whole)
            self._commit(temporary, snapshot, then)
        else:
            self._shadow = self._shadow or Shadow()
            temporary, snapshot = self._gather(loop, self._shadow.copy, whole)
            self._background.start(lambda: self._commit_or_report(temporary, snapshot, then))
        self.saved_step = state.step

    def _gather(
        self, loop: Mapping[str, Any], stage: Stage, whole: Mapping[int, Tensor]
    ) -> tuple[Path, Snapshot]:
        state = self.state
        if whole:
            stage = with_whole(stage, whole)
        if not state.ranks.is_sharded:
            _require_finite(state)
        temporary = begin_checkpoint(self.folder.checkpoints, state.step)
        added: dict[str, dict[str, Tensor]] = {}

        def add(file: str, tensors: Mapping[str, Tensor]) -> None:
            added[file] = stage(file, tensors)

        try:
            payload: dict[str, Any] = {}
            state.add_to_checkpoint = add
            place = self.folder.checkpoints / step_name(state.step)
            with storage_errors(place), in_place(state.models, whole):
                state.experiment.hooks.call(
                    "trainer_checkpoint_save", state=state, payload=payload, path=temporary
                )
            snapshot = take_snapshot(state, payload, self.folder.texts, loop, stage, whole)
        except BaseException:
            abandon_checkpoint(temporary)
            raise
        snapshot.tensors |= added
        return temporary, snapshot

    def _commit(self, temporary: Path, snapshot: Snapshot, then: Callable[[], None]) -> None:
        if self._shadow is not None:
            self._shadow.wait()
        commit_checkpoint(temporary, snapshot)
        then()

    def _commit_or_report(
        self, temporary: Path, snapshot: Snapshot, then: Callable[[], None]
    ) -> None:
        try:
            self._commit(temporary, snapshot, then)
        except StorageError as exc:
            self._report(snapshot.step, exc)

    def _report(self, step: int, error: StorageError) -> None:
        if self.state.ranks.is_main:
            _log.warning("checkpoint of step %d not saved: %s", step, error)


def _sharded_tensors(state: RunState) -> Iterator[Tensor]:
    """Yield all that a checkpoint holds and that may be sharded, on every rank in one order."""
    yield from state.models.parameters()
    for optimizer in state.optimizers.values():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                values = optimizer.state.get(parameter, {})
                yield from (value for value in values.values() if is_sharded(value))
    for tensors in state.sharded:
        yield from tensors()


def _require_finite(state: RunState) -> None:
    """Weights that are not finite never get better; they must not replace good ones."""
    bad = _nonfinite_weight(state)
    if state.ranks.is_sharded:  # each rank looks at its part
        bad = next((name for name in state.ranks.gather(bad) if name is not None), None)
    if bad is None:
        return
    msg = (
        f"weights are not finite after step {state.step}, such as {bad}: the training has "
        "diverged, and this step is not saved"
    )
    raise TrainerError(msg)


def _nonfinite_weight(state: RunState) -> str | None:
    named = [(name, own_part(p)) for name, p in state.models.named_parameters() if p.requires_grad]
    # A sum is finite only if its terms are, and costs one pass without memory.
    if not named or torch.stack([p.sum().isfinite() for _, p in named]).all():
        return None
    return next((name for name, p in named if not p.isfinite().all()), None)
