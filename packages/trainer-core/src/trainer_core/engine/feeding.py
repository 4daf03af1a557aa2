"""What the loop calls in every step: where batches come from, and what trains on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainer_core.loader import BatchSource
from trainer_core.sampling import order_of
from trainer_core.step import LossTrainer
from trainer_core.tree import move_to_device, tree_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.engine.built import Experiment
    from trainer_core.engine.state import RunState
    from trainer_core.protocols import Batch

__all__ = ["batches_of", "step_function"]


def batches_of(state: RunState) -> Callable[[], Batch]:
    """Return what fetches this rank's part of one batch after the other, ready to train on."""
    experiment = state.experiment
    order = order_of(experiment.dataset, experiment.seed)
    source = BatchSource(
        experiment.dataset,
        order,
        global_batch=experiment.global_batch,
        rank=state.ranks.rank,
        world_size=state.ranks.world_size,
        num_workers=experiment.num_workers,
        pin_memory=experiment.device.type == "cuda",
        prepare=_preparation(experiment),
    )
    return source.iterate(state.samples)


def step_function(trainer: Any) -> Callable[..., dict[str, Any]]:
    """Return the trainer's step; of a stranger's the metrics are cut from their graphs."""
    step: Callable[..., dict[str, Any]] = trainer.train_step
    if isinstance(trainer, LossTrainer):
        return step

    def detached_step(batch: Batch, **where: Any) -> dict[str, Any]:
        metrics: dict[str, Any] = tree_map(_detach, step(batch, **where))
        return metrics

    return detached_step


def _preparation(experiment: Experiment) -> Callable[[Batch], Batch] | None:
    """Return what brings a batch to the device and normalises it; None if nothing is to do."""
    device, normalizer = experiment.device, experiment.normalizer
    normalize = normalizer.for_batches() if normalizer.keys else None
    if device.type == "cpu":
        return normalize

    def prepare(batch: Batch) -> Batch:
        moved: Batch = move_to_device(batch, device, non_blocking=True)
        return moved if normalize is None else normalize(moved)

    return prepare


def _detach(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
