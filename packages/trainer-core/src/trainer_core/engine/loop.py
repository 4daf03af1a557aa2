"""The one loop of every runner: step, log, validate, save, evaluate."""

from __future__ import annotations

import gc
import logging
import sys
import time
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from trainer_core.engine.events import Events
from trainer_core.engine.feeding import batches_of, step_function
from trainer_core.engine.nonfinite import Guard, RollBack
from trainer_core.engine.progress import open_progress
from trainer_core.engine.report import write_report
from trainer_core.engine.requeue import requeue_if_asked
from trainer_core.engine.resuming import find_together
from trainer_core.engine.runfolder import RunFolder, public_config
from trainer_core.engine.runlock import hold_together
from trainer_core.engine.saving import Saver
from trainer_core.engine.signals import catch_interrupts
from trainer_core.engine.state import RunState
from trainer_core.engine.summary import introduce
from trainer_core.engine.throughput import flops_share
from trainer_core.engine.timetable import Timetable
from trainer_core.engine.watchdog import Watchdog
from trainer_core.errors import StorageError, TrainerError
from trainer_core.loggers.fanout import Loggers
from trainer_core.ranks import LocalRanks
from trainer_core.results import RunResult
from trainer_core.seeding import make_step_seeder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.engine.built import Experiment
    from trainer_core.engine.progress import Progress
    from trainer_core.engine.signals import InterruptFlag
    from trainer_core.ranks import Ranks

__all__ = ["RunResult", "RunState", "fit"]

_log = logging.getLogger(__name__)


def fit(
    experiment: Experiment,
    out_dir: Path,
    *,
    ranks: Ranks | None = None,
    resume: str | int = "none",
    progress: Progress | None = None,
) -> RunResult:
    """Train, from the beginning or from where a checkpoint has it.

    Args:
        experiment: Everything that was built.
        out_dir: The run folder.
        ranks: The processes of the run; None: this one alone.
        resume: `none`, `auto`, a step, or the path of a checkpoint.
        progress: Shows how far it is; None: a bar on a terminal, quiet lines elsewhere.

    Returns:
        How it ended; an interrupted run has its state saved.

    Raises:
        CheckpointError: A checkpoint was asked for that is not whole, or of another model.
        StorageError: The last step cannot be saved.
    """
    ranks = LocalRanks() if ranks is None else ranks
    timetable = Timetable()
    state = RunState(experiment, out_dir, ranks, timetable, experiment.total_steps)
    folder = RunFolder(out_dir)
    run = _Run(state, folder, progress or open_progress(is_main=ranks.is_main))
    run.introduces = progress is None
    with (
        hold_together(out_dir, experiment.loaded, ranks),
        catch_interrupts(timetable.wake) as interrupted,
    ):
        state.interrupt, state.interrupted = interrupted.set, interrupted.__bool__
        checkpoint = find_together(folder.checkpoints, resume, ranks)
        if checkpoint is not None:
            run.saver.restore(checkpoint, is_chosen=resume != "auto")
        kept_step = folder.own_step(checkpoint)
        ranks.on_main(lambda: folder.open(experiment.loaded, kept_step=kept_step))
        with run.watchdog.watching():
            return run.execute(checkpoint, interrupted)


class _Run:
    """One execution of `fit`."""

    def __init__(self, state: RunState, folder: RunFolder, progress: Progress) -> None:
        self.state = state
        self.folder = folder
        self.progress = progress
        self.loggers = Loggers(state.experiment.loggers if state.ranks.is_main else [])
        self.introduces = False
        self.began = time.perf_counter()
        self.guard = Guard(state)
        self.events = Events(state, folder, progress, self.loggers, self.guard)
        self.saver = Saver(state, folder, self._loop_state)
        state.save, state.track = self.saver.save_if_possible, progress.track
        loaded = state.experiment.loaded
        limit_s = loaded.config.run.watchdog_s if loaded is not None else None
        self.watchdog = Watchdog(state, limit_s, partial(self._summarize, "failed"))
        state.beat, state.pause = self.watchdog.beat, self.watchdog.pause

    def execute(self, checkpoint: Checkpoint | None, interrupted: InterruptFlag) -> RunResult:
        """Set up, train, close; whatever happens, `summary.json` says how it ended."""
        state, hooks = self.state, self.state.experiment.hooks
        try:
            self._set_up(checkpoint)
            try:
                self._train_to_the_end(interrupted)
            finally:
                gc.unfreeze()
            status = self._conclude(interrupted)
        except BaseException as exc:
            self._fail(exc)
            raise
        hooks.call("trainer_fit_end", state=state, status=status)
        self._close(status)
        if status == "interrupted":
            requeue_if_asked(state, interrupted.signal_name)
        return RunResult(
            status,
            state.step,
            dict(state.metrics),
            dict(state.evaluation),
            state.out_dir,
            self._wall_s(),
            stop_reason=state.stop_reason,
        )

    def _set_up(self, checkpoint: Checkpoint | None) -> None:
        state, experiment = self.state, self.state.experiment
        self.saver.clean()
        if checkpoint is not None:
            counters = self.saver.restore_rest(checkpoint)
            self.events.load_state_dict(counters)
            self.guard.load_state_dict(counters)
            state.wall_s = float(counters["wall_s"])
        experiment.hooks.call("trainer_fit_start", state=state)
        self.loggers.start(self._describe(checkpoint))
        if self.introduces and state.ranks.is_main:
            introduce(experiment, sys.stderr)
        self.progress.start(state)
        self.events.schedule(self._wall_s)
        self.events.flops_share = flops_share(experiment)
        state.timetable.start(state.step, state.total_steps)
        gc.freeze()  # what exists now lives as long as the run: collections skip it until the end

    def _train_to_the_end(self, interrupted: InterruptFlag) -> None:
        """Train, and go back to the last checkpoint where `on_nonfinite` asks for it."""
        while True:
            try:
                return self._train(interrupted)
            except RollBack as failure:
                self._go_back(failure)

    def _go_back(self, failure: RollBack) -> None:
        state = self.state
        self.saver.finish()
        own = find_together(self.folder.checkpoints, "auto", state.ranks)
        checkpoint = own or self.saver.origin
        if checkpoint is None:
            msg = f"{failure}\n  there is no checkpoint to go back to"
            raise TrainerError(msg) from failure
        passed_over, rollbacks = self.guard.passed_over, self.guard.rollbacks
        counters = self.saver.go_back(checkpoint)
        self.events.load_state_dict(counters)
        self.guard.load_state_dict(counters)
        self.guard.go_back(failure, passed_over, rollbacks)
        self.loggers.finish("interrupted")
        self.loggers.start(self._describe(checkpoint))
        state.timetable.start(state.step, state.total_steps)

    def _train(self, interrupted: InterruptFlag) -> None:
        """Do the steps; between two of them, whatever is due."""
        state, experiment = self.state, self.state.experiment
        timetable, ranks, events = state.timetable, state.ranks, self.events
        guard, watched, passed_over = self.guard, self.guard.trainer, self.guard.passed_over
        experiment.models.train()
        fetch = batches_of(state)
        train_step = step_function(experiment.trainer)
        advance = tuple(
            handle.scheduler.step
            for handle in state.schedules.values()
            if handle.interval == "step"
        )
        groups = [optimizer.param_groups[0] for optimizer in state.optimizers.values()]
        read_rate, clock = itemgetter("lr"), time.perf_counter
        step_hooks = experiment.hooks.step_functions()
        reseed = make_step_seeder(experiment.seed, experiment.device)
        accumulation = getattr(experiment.settings, "grad_accum_steps", 1)
        first_micro_batch = ranks.rank * accumulation
        agree, own_flag = _agreement(ranks, interrupted)
        step, total = state.step, state.total_steps
        global_batch, size = experiment.global_batch, state.samples_per_epoch
        total_epochs, window = state.total_epochs, events.window
        events.catch_up(interrupted)
        while step < total and not own_flag and not state.stop_reason:
            start = clock()
            reseed(step, first_micro_batch)
            batch = fetch()
            fetched = clock()
            if step in passed_over:
                metrics = guard.pass_over()
            else:
                metrics = train_step(
                    batch, epoch=state.samples // size, total_epochs=total_epochs, iterations=step
                )
            events.rates = [*map(read_rate, groups)]
            if watched.is_skipped:
                guard.skipped_steps += 1
            else:
                for advance_schedule in advance:
                    advance_schedule()
            step += 1
            state.step = step
            state.samples += global_batch
            window.add(metrics)
            for hook in step_hooks:
                hook(state, metrics)
            now = clock()
            events.data_s += fetched - start
            events.step_s += now - start
            if step >= timetable.next_step or agree(now >= timetable.next_time):
                timetable.run_due(step, total, ranks)
                if ranks.world_size > 1 and ranks.any(bool(interrupted)):
                    break

    def _conclude(self, interrupted: InterruptFlag) -> str:
        """Save, and unless the run was interrupted measure a last time; return the status."""
        state = self.state
        if not state.ranks.any(bool(interrupted)):
            self.events.log_rest()
            if state.save_at_end:
                self.saver.save()
            self.events.measure_at_end(interrupted)
        if not state.ranks.any(bool(interrupted)):
            self.saver.finish()
            return "completed"
        self.saver.save()
        return "interrupted"

    def _close(self, status: str) -> None:
        self.progress.stop()
        try:
            if self.state.ranks.is_main:
                self._summarize(status)
                self._report(picture=status == "completed")
        finally:
            self.loggers.finish(status)

    def _report(self, *, picture: bool) -> None:
        """Write the report; the run is complete without it."""
        try:
            write_report(self.folder.path, picture=picture)
        except StorageError as exc:
            _log.warning("no report: %s", exc)

    def _fail(self, exc: BaseException) -> None:
        state, hooks = self.state, self.state.experiment.hooks
        self.progress.stop()
        try:
            self.saver.finish()
        except Exception as second:  # noqa: BLE001 - the first error is the one to report
            exc.add_note(f"also, a checkpoint was not saved: {second}")
        hooks.call_guarded("trainer_exception", state=state, exc=exc)
        hooks.call_guarded("trainer_fit_end", state=state, status="failed")
        self.loggers.finish("failed")
        exc.run_folder = str(self.folder.path)  # type: ignore[attr-defined] # tells the command line where the traceback belongs
        if state.ranks.is_main:
            try:
                self._summarize("failed", f"{type(exc).__name__}: {exc}")
                self._report(picture=False)
            except StorageError as second:
                exc.add_note(str(second))

    def _summarize(self, status: str, error: str = "") -> None:
        state = self.state
        summary = {
            "status": status,
            "step": state.step,
            "wall_s": round(self._wall_s(), 3),
            "metrics": state.metrics,
            "evaluation": state.evaluation,
        }
        if state.stop_reason:
            summary["stop_reason"] = state.stop_reason
        if error:
            summary["error"] = error
        self.folder.write_summary(summary)

    def _describe(self, checkpoint: Checkpoint | None) -> dict[str, Any]:
        state, experiment = self.state, self.state.experiment
        loaded = experiment.loaded
        return {
            "name": experiment.name,
            "out_dir": str(state.out_dir),
            "config": public_config(loaded) if loaded is not None else {},
            "resumed_step": state.step if checkpoint is not None else None,
            "total_steps": state.total_steps,
            "global_batch": experiment.global_batch,
            "max_time_s": experiment.settings.max_time_s,
            "wall_s": self._wall_s(),
            "device": str(experiment.device),
            "parameters": sum(p.numel() for p in experiment.models.parameters()),
        }

    def _loop_state(self) -> dict[str, Any]:
        own = {**self.events.state_dict(), **self.guard.state_dict()}
        return {**own, "wall_s": self._wall_s()}

    def _wall_s(self) -> float:
        return self.state.wall_s + time.perf_counter() - self.began


def _agreement(
    ranks: Ranks, interrupted: InterruptFlag
) -> tuple[Callable[[bool], bool], InterruptFlag | tuple[()]]:
    """Return how ranks agree that something is due, and the flag that ends the loop at once.

    With several ranks a signal to one of them is something due for all: none leaves alone.
    """
    if ranks.world_size == 1:
        return bool, interrupted
    return (lambda is_due: ranks.any_lately(is_due or bool(interrupted))), ()
