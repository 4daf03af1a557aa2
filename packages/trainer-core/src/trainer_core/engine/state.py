"""A run while it goes: what callbacks see and what checkpoints hold."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from trainer_core.engine.built import Experiment
    from trainer_core.engine.timetable import Timetable
    from trainer_core.normalize import Normalizer
    from trainer_core.optim import ScheduleHandle
    from trainer_core.ranks import Ranks

__all__ = ["RunState"]


@dataclass(eq=False)
class RunState:
    """The run that hooks act on.

    Attributes:
        experiment: Everything that was built.
        out_dir: The run folder.
        ranks: The processes of the run.
        timetable: What happens when; callbacks add to it in `trainer_fit_start`.
        total_steps: Optimizer steps of the whole run.
        step: Optimizer steps done.
        samples: Samples of the global batches so far.
        metrics: The newest value of every metric, as numbers.
        evaluation: The newest evaluation's result.
        wall_s: Seconds spent before this process took the run over.
        save: Saves a checkpoint of this step and returns its folder; set by the loop. With
            `wait=False` it is written while training goes on. `then` is called when it is whole,
            in the thread that wrote it.
        add_to_checkpoint: For callbacks in `trainer_checkpoint_save`: `(file, tensors)` adds a
            safetensors file; the tensors are copied before training goes on.
        sharded: Functions that return tensors of which each process has a part; callbacks that add
            such tensors to checkpoints append one in `trainer_fit_start`, and all processes put
            them together before rank 0 saves.
        averages: Functions that return averaged weights by `<component>/<name>`, the names and the
            number formats of parameters and buffers; whoever measures or hands weights out while
            training goes on takes these instead. Callbacks append theirs in `trainer_fit_start`.
        beat: Tells the watchdog of progress that is no step; set by the loop.
        pause: Context in which the watchdog waits for a beat or for its end; set by the loop.
        interrupt: Asks the run to save and leave, as a signal of this name would; for who hears of
            it in another way. May be called by any thread; set by the loop.
        interrupted: Tells whether it was asked to: a hook that waits looks at it, and returns; set
            by the loop.
        track: Shows how far a wait or a measurement is, `track(done, total, text, name)`; set by
            the loop.
        gauges: Functions that return further numbers for a log line, by name; rank 0 calls them
            when it writes one. Callbacks append theirs in `trainer_fit_start`.
        save_at_end: Whether the last step is saved; an interrupted run always is.
        stop_reason: Why the run ends before its last step; empty while it goes on.
    """

    experiment: Experiment
    out_dir: Path
    ranks: Ranks
    timetable: Timetable
    total_steps: int
    step: int = 0
    samples: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0
    save: Callable[..., Path | None] = lambda **_: None
    add_to_checkpoint: Callable[[str, Mapping[str, Tensor]], None] = lambda _file, _tensors: None
    sharded: list[Callable[[], Iterable[Tensor]]] = field(default_factory=list)
    averages: list[Callable[[], Mapping[str, Tensor]]] = field(default_factory=list)
    beat: Callable[[], None] = lambda: None
    pause: Callable[[], AbstractContextManager[Any]] = nullcontext
    interrupt: Callable[[str], None] = lambda _: None
    interrupted: Callable[[], bool] = lambda: False
    track: Callable[..., None] = lambda *_: None
    gauges: list[Callable[[], Mapping[str, float]]] = field(default_factory=list)
    save_at_end: bool = True
    stop_reason: str = ""

    @property
    def models(self) -> nn.ModuleDict:
        """The components by name."""
        return self.experiment.models

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimizers by name."""
        return self.experiment.optimizers

    @property
    def schedules(self) -> dict[str, ScheduleHandle]:
        """The learning-rate schedules by the name of their optimizer."""
        return self.experiment.schedules

    @property
    def trainer(self) -> Any:
        """The trainer."""
        return self.experiment.trainer

    @property
    def normalizer(self) -> Normalizer:
        """The normalisation with the data set's statistics."""
        return self.experiment.normalizer

    @property
    def device(self) -> torch.device:
        """Where models and batches are."""
        return self.experiment.device

    @property
    def samples_per_epoch(self) -> int:
        """Samples of the training split."""
        return len(self.experiment.dataset)

    @property
    def epoch(self) -> int:
        """Complete passes over the data."""
        return self.samples // self.samples_per_epoch

    @property
    def total_epochs(self) -> int:
        """Passes of the whole run, rounded up."""
        whole = self.total_steps * self.experiment.global_batch
        return max(1, math.ceil(whole / self.samples_per_epoch))

    @property
    def should_stop(self) -> bool:
        """Whether the run ends after the current step."""
        return bool(self.stop_reason)

    def stop(self, reason: str) -> None:
        """End the run after the current step, with a checkpoint, as if it were complete."""
        self.stop_reason = reason
        self.timetable.wake()
