"""Validation on the held-out split, and evaluation by an evaluator."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from trainer_core.engine.metrics import numbers_of
from trainer_core.loader import make_reader
from trainer_core.protocols import EvaluationContext
from trainer_core.sampling import SampleOrder
from trainer_core.seeding import isolated_rng
from trainer_core.step import LossTrainer
from trainer_core.tree import batch_size, move_to_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trainer_core.engine.progress import Progress
    from trainer_core.engine.runfolder import RunFolder
    from trainer_core.engine.state import RunState
    from trainer_core.ranks import Ranks

__all__ = ["evaluate", "validate"]

_WORTH_SHOWING_S = 1.0
_log = logging.getLogger(__name__)


def validate(
    state: RunState, interrupted: Callable[[], bool], progress: Progress | None = None
) -> dict[str, float]:
    """Return the mean of each metric over the whole validation split, as `val/<metric>`.

    Each sample counts once and in the order of the data; the noise of a loss is the same each
    time. The training's weights, modes and generators come back as they were.

    Args:
        state: The run.
        interrupted: Polled between batches; True leaves the rest out and returns nothing.
        progress: Shows how far a validation of more than a second is.
    """
    show = _reporter(progress, len(state.experiment.val_dataset))
    experiment = state.experiment
    dataset, ranks = experiment.val_dataset, state.ranks
    size = experiment.global_batch
    # What `metrics:` collect cannot be added up: every rank then reads everything.
    is_shared = ranks.world_size > 1 and not experiment.metrics
    order = SampleOrder(len(dataset), experiment.seed, shuffle=False)
    read = make_reader(dataset, experiment.seed)
    sums: dict[str, Any] = {}
    weights: dict[str, float] = {}
    with isolated_rng(), _measuring(state) as metrics:
        for number, start in enumerate(range(0, len(dataset), size)):
            if ranks.any(interrupted()):
                break
            total = min(size, len(dataset) - start)
            for begin, end in _parts(total, size // ranks.world_size, is_shared, ranks.rank):
                indices = order.indices(start + begin, start + end)
                batch = move_to_device(read(indices, start + begin), state.device)
                batch = experiment.normalizer.normalize(batch)
                place = {"step": number, "start": begin, "total": total}
                values, weight = _measure_batch(state, batch, place)
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value * weight
                    weights[name] = weights.get(name, 0.0) + weight
            show(start + total)
        else:
            if is_shared:
                sums, weights = _over_ranks(ranks, sums, weights)
            metrics.update({f"val/{name}": float(sums[name] / weights[name]) for name in sums})
            for metric in experiment.metrics:
                metrics.update({f"val/{key}": float(v) for key, v in metric.compute().items()})
    return metrics


def evaluate(
    state: RunState,
    folder: RunFolder,
    progress: Progress,
    interrupted: Callable[[], bool],
    *,
    final: bool,
) -> dict[str, Any] | None:
    """Run the evaluator on rank 0; return its result, or None if it was interrupted.

    All ranks call this together; the others wait. An evaluator that fails on the way is told of
    and gives no result: training goes on. At the end its error is raised, with all steps saved.

    Args:
        state: The run.
        folder: Where its files go.
        progress: Shows how far it is.
        interrupted: Handed to the evaluator, which polls it between episodes.
        final: Whether this is the evaluation at the end of the run.
    """
    experiment = state.experiment

    def measure() -> dict[str, Any] | None:
        context = EvaluationContext(
            trainer=state.trainer,
            models=state.models,
            normalizer=state.normalizer,
            device=state.device,
            step=state.step,
            out_dir=folder.evaluation_folder(state.step),
            seed=experiment.seed,
            final=final,
            progress=progress.track,
            interrupted=interrupted,
        )
        try:
            return dict(experiment.evaluator.evaluate(context))
        except Exception as error:
            if final:
                raise
            told = "%s: %s. The evaluation at step %d gave no result; training goes on"
            _log.error(told, type(error).__name__, error, state.step)
            return None

    def keep() -> bool:
        if interrupted() or result is None:
            return False
        folder.write_evaluation(state.step, result, experiment.evaluation_settings)
        return True

    with isolated_rng(), _measuring(state) as metrics:
        result = state.ranks.on_main(measure)
        metrics.update(numbers_of(result or {}, "eval/"))
    return result if state.ranks.on_main(keep) else None


def _reporter(progress: Progress | None, samples: int) -> Callable[[int], None]:
    """Return what shows how many samples are done; a short validation is not worth a line."""
    began = time.perf_counter()
    is_shown = False

    def show(done: int) -> None:
        nonlocal is_shown
        if progress is not None and (is_shown or time.perf_counter() - began > _WORTH_SHOWING_S):
            is_shown = True
            progress.track(done, samples, "samples", "validation")

    return show


@torch.no_grad()
def _measure_batch(
    state: RunState, batch: dict[str, Any], place: Mapping[str, int]
) -> tuple[dict[str, Any], float]:
    trainer, experiment = state.trainer, state.experiment
    if not isinstance(trainer, LossTrainer):
        values = trainer.validation_step(batch, epoch=state.epoch, iterations=state.step)
        return dict(values), float(batch_size(batch))
    context = trainer.make_context(batch, epoch=state.epoch, training=False, **place)
    values = trainer.validation_step(batch, context)
    for metric in experiment.metrics:
        metric.update(trainer.predict(batch, context), batch)
    return values, float(trainer.loss_weight(batch))


def _parts(total: int, size: int, is_shared: bool, rank: int) -> list[tuple[int, int]]:
    """Return the parts of a batch that this rank measures, none longer than `size`."""
    parts = [(begin, min(begin + size, total)) for begin in range(0, total, size)]
    return parts[rank : rank + 1] if is_shared else parts


def _over_ranks(
    ranks: Ranks, sums: Mapping[str, Any], weights: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the sums and weights of all ranks together."""
    own = {name: (float(value), weights[name]) for name, value in sums.items()}
    all_sums: dict[str, float] = {}
    all_weights: dict[str, float] = {}
    for of_rank in ranks.gather(own):
        for name, (value, weight) in of_rank.items():
            all_sums[name] = all_sums.get(name, 0.0) + value
            all_weights[name] = all_weights.get(name, 0.0) + weight
    return all_sums, all_weights


@contextmanager
def _measuring(state: RunState) -> Iterator[dict[str, float]]:
    """Prepare a measurement and undo that afterwards, on all ranks; yield a dict for the result."""
    metrics: dict[str, float] = {}
    state.models.eval()
    _switch_optimizers(state, "eval")
    state.experiment.hooks.call("trainer_evaluation_start", state=state)
    try:
        with state.ranks.whole():
            yield metrics
    finally:
        state.experiment.hooks.call("trainer_evaluation_end", state=state, metrics=metrics)
        _switch_optimizers(state, "train")
        state.models.train()


def _switch_optimizers(state: RunState, mode: str) -> None:
    """Tell optimizers that average weights themselves (schedule-free ones)."""
    for optimizer in state.optimizers.values():
        switch = getattr(optimizer, mode, None)
        if callable(switch):
            switch()
