"""Keeps a run's storage up to date while it trains, and its machines at one checkpoint before."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray.train.collective

from trainer_core.checkpoint.layout import list_steps, step_name
from trainer_core.checkpoint.reader import newest_valid
from trainer_core.distributed.reports import describe, echo
from trainer_core.errors import CheckpointError, StorageError, TrainerError, UserError
from trainer_core.hookspecs import hookimpl
from trainer_ray.mirror import CheckpointMirror

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainer_core.distributed.place import Place
    from trainer_ray.options import Options

__all__ = ["Mirroring", "agree_on_newest", "mirrored"]

_log = logging.getLogger(__name__)

_GLANCE_S = 0.5


@contextmanager
def mirrored(
    options: Options, out_dir: Path, place: Place, resume: str | int, *, has_begun: bool
) -> Iterator[list[Any]]:
    """Bring every machine to the newest checkpoint, and keep the storage up to date.

    Args:
        options: The runner's options.
        out_dir: The run folder on this machine.
        place: Which rank this is.
        resume: `run.resume`.
        has_begun: An earlier attempt of this run came to its first step.

    Yields:
        What listens to the run: nothing without a storage, or on other ranks than 0.

    Raises:
        UserError: The storage has another run's checkpoints.
        StorageError: It does not answer.
    """
    if not options.storage:
        yield []
        return
    mirror = CheckpointMirror(options.storage)
    if has_begun or resume in {"auto", "none"}:
        _meet(mirror, out_dir, place, is_new=resume == "none" and not has_begun)
    mirroring = Mirroring(mirror, out_dir)
    yield [mirroring] if place.rank == 0 else []
    if place.rank == 0:
        mirror.upload_files(out_dir)


def _meet(mirror: CheckpointMirror, out_dir: Path, place: Place, *, is_new: bool) -> None:
    """Give every machine the newest checkpoint that rank 0 finds, here or in the storage."""
    answer: dict[str, Any] = {}
    error: Exception | None = None
    if place.rank == 0:
        try:
            answer = {"step": agree_on_newest(mirror, out_dir, is_new=is_new)}
        except TrainerError as caught:
            error, answer = caught, {"error": describe(caught)}
    if place.world_size > 1:
        answer = ray.train.collective.broadcast_from_rank_zero(answer)
    if error is not None:
        raise error
    if "error" in answer:
        raise echo(answer["error"])
    step = answer["step"]
    if step is not None and place.rank and place.local_rank == 0:
        mirror.fetch(step, out_dir / "checkpoints")
    if place.world_size > 1:
        ray.train.collective.barrier()


def agree_on_newest(mirror: CheckpointMirror, out_dir: Path, *, is_new: bool) -> int | None:
    """Bring this machine and the storage to the same newest checkpoint; return its step, or None.

    Args:
        mirror: The storage.
        out_dir: The run folder.
        is_new: The run begins, and goes on from nothing.

    Raises:
        UserError: It begins, and the storage has a run already.
        StorageError: The storage does not answer, or cannot be written.
    """
    steps = mirror.steps()
    if is_new and steps:
        msg = (
            f"the storage {mirror.url} has a run already, up to step {steps[0]}: go on from it "
            "with run.resume: auto, or give this run another storage"
        )
        raise UserError(msg)
    mirror.require_writable()
    if is_new:
        return None
    root = out_dir / "checkpoints"
    own = newest_valid(root)
    if own is not None and (not steps or own.step >= steps[0]):
        mirror.upload(own.path)
        return own.step
    step = mirror.fetch_newest(root) if steps else None
    if step is None:
        return None if own is None else own.step
    mirror.fetch_file("metrics.jsonl", out_dir)
    return step


class Mirroring:
    """Copies each checkpoint that rank 0 commits, in a thread: training does not wait.

    Saves that come faster than they are copied are passed over but for the newest. What the run's
    own retention deletes is deleted in the storage as well; the newest copy never is.

    Args:
        mirror: The storage.
        out_dir: The run folder.
    """

    def __init__(self, mirror: CheckpointMirror, out_dir: Path) -> None:
        self._mirror = mirror
        self._out_dir = out_dir
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="checkpoint-mirror", daemon=True)
        self._seen: set[int] = set()
        self._copied: int | None = None

    @hookimpl
    def trainer_fit_start(self) -> None:
        """Begin to look for checkpoints."""
        self._thread.start()

    @hookimpl
    def trainer_fit_end(self, state: Any) -> None:
        """Copy what is left, however the run ended.

        Raises:
            StorageError: The last checkpoint cannot be copied.
        """
        self._done.set()
        with state.pause():  # it takes as long as it takes
            if self._thread.is_alive():
                self._thread.join()
            try:
                self._copy_newest()
            except StorageError as error:
                where = f"what is not copied is in {self._out_dir}, and the same command copies it"
                msg = f"{error}; {where}"
                raise StorageError(msg) from error

    def _watch(self) -> None:
        while not self._done.wait(_GLANCE_S):
            try:
                self._copy_newest()
            except StorageError as error:
                _log.warning("checkpoint not copied, tried again: %s", error)
                self._done.wait(10 * _GLANCE_S)

    def _copy_newest(self) -> None:
        there = list_steps(self._out_dir / "checkpoints")
        self._seen |= {step for step, _ in there}
        if not there or there[0][0] == self._copied:
            return
        step, folder = there[0]
        try:
            self._mirror.upload(folder)
        except CheckpointError as error:
            _log.warning("checkpoint of step %d not copied: %s", step, error)
            return
        self._copied = step
        self._mirror.upload_files(self._out_dir)
        self._forget_deleted()

    def _forget_deleted(self) -> None:
        root = self._out_dir / "checkpoints"
        for step in self._mirror.steps()[1:]:
            if step in self._seen and not (root / step_name(step)).exists():
                self._mirror.delete(step)
