"""Everything a run needs, built and not yet running."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trainer_core.engine.hooks import Hooks
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.normalize import Normalizer
    from trainer_core.optim import ScheduleHandle

__all__ = ["Experiment"]


@dataclass
class Experiment:
    """Everything a run needs, built.

    Attributes:
        name: The run's name.
        seed: The run's seed.
        device: Where models and batches are.
        models: The components by name, unwrapped.
        optimizers: The optimizers by name.
        schedules: The learning-rate schedules by the name of their optimizer.
        trainer: Owns what a step does.
        dataset: The training split.
        val_dataset: The validation split, or None.
        normalizer: The data set's normalisation, on the device.
        global_batch: Samples of a step over all ranks.
        total_steps: Optimizer steps of the run.
        settings: The engine's keys of `trainer:` (a `TrainerSection`, or anything with them).
        num_workers: Loader processes.
        evaluator: Measures the policy, or None.
        evaluate_every: Steps between two evaluations; 0: only at the end.
        metrics: Metrics of the validation batches.
        hooks: The callbacks and hook plugins.
        loggers: Where metrics go.
        loaded: The checked experiment that this was built from; None if it was put together in
            Python.
    """

    name: str
    seed: int
    device: torch.device
    models: nn.ModuleDict
    optimizers: dict[str, torch.optim.Optimizer]
    schedules: dict[str, ScheduleHandle]
    trainer: Any
    dataset: Any
    normalizer: Normalizer
    global_batch: int
    total_steps: int
    settings: Any
    hooks: Hooks
    val_dataset: Any = None
    num_workers: int = 0
    evaluator: Any = None
    evaluate_every: int = 0
    metrics: list[Any] = field(default_factory=list)
    loggers: list[Any] = field(default_factory=list)
    loaded: LoadedExperiment | None = None

    @property
    def evaluation_settings(self) -> dict[str, Any] | None:
        """What the file says about the evaluator: with other settings it measures anew."""
        section = self.loaded.config.evaluation if self.loaded is not None else None
        return None if section is None else section.component
