"""The contracts between the engine and what plugins bring. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from policy_constructor.graph.ir import SpecIR
    from trainer_core.random import KeyedRandom
    from trainer_core.results import RunResult

__all__ = [
    "Batch",
    "BatchReport",
    "BatchShapes",
    "DatasetFactory",
    "EvaluationContext",
    "Evaluator",
    "Exportable",
    "FileView",
    "IOMapping",
    "Initializer",
    "LossFactory",
    "Metric",
    "MetricLogger",
    "OptimizerFactory",
    "ParameterGroups",
    "Runner",
    "SchedulerFactory",
    "StepContext",
    "SweepReport",
    "Trainer",
]

Batch: TypeAlias = "dict[str, Any]"
BatchShapes: TypeAlias = "Mapping[str, tuple[int, ...] | None]"
"""Shape of each key of a batch without the batch dimension; None where it is not known."""
BatchReport: TypeAlias = "Callable[..., None]"
"""Called as `report(place, message, suggestions=(), on=None, absent=False)` for a wrong parameter.

`place` are its keys. `on` is the `"key"` or the `"value"` to point at: the key if there are
suggestions for it, else the value. `absent` says that the file may be right and something is not on
this machine: `trainer check` tells, the run itself finds out.
"""
ParameterGroups: TypeAlias = "list[dict[str, Any]]"


@dataclass(frozen=True, slots=True)
class FileView:
    """What a `parameter_check` may look at beside the parameters of its component.

    Attributes:
        sections: The whole file as plain data, references resolved.
        batches: Shapes of the batches of the data set; None where they are not known.
        blocks: The components of the model that are a single block, by name, with the parameters
            of its constructor in `kwargs` and its place in `location`.
    """

    sections: Mapping[str, Any]
    batches: BatchShapes | None
    blocks: Mapping[str, SpecIR]


@dataclass(slots=True)
class StepContext:
    """What a loss may know about the step it is computed in.

    Attributes:
        step: Optimizer steps done before this one.
        total_steps: Optimizer steps of the whole run.
        epoch: Passes over the data that are complete.
        random: Random numbers keyed by (seed, step) and by the position of a sample in the
            global batch: the same for any world size and accumulation.
        training: False while validating.
        listener: Who wants the losses of samples; None: nobody. Set by the engine.
    """

    step: int
    total_steps: int
    epoch: int
    random: KeyedRandom
    training: bool = True
    listener: Callable[[Tensor], None] | None = None

    @property
    def wants_sample_losses(self) -> bool:
        """Whether somebody listens to `tell_sample_losses`; else there is nothing to compute."""
        return self.listener is not None

    def tell_sample_losses(self, values: Tensor) -> None:
        """Tell the loss of each sample, once in a call; who samples by them draws large ones more.

        Args:
            values: `(B,)` in the order of the (micro-)batch, at least 0 and in one unit for the
                whole run; usually a mean over the sample's own elements.
        """
        if self.listener is not None:
            self.listener(values.detach())


@runtime_checkable
class Trainer(Protocol):
    """Owns what one optimizer step does.

    Constructed as `Trainer(models=ModuleDict, optimizers=dict, loss=..., device=..., **params)`
    where params are the remaining keys of the `trainer:` section. Most authors extend
    `trainer_core.LossTrainer` and write only `compute_losses`.

    A class whose parameters name keys of the batch says which in a literal `batch_key_parameters`:
    the parameter's name, and the component of `models:` without which it is not read, or None.
    `trainer check` looks these keys up in the batches of the data set.

    `parameter_check = "module:function"` names a function `(parameters, report, view) -> None` in a
    module that imports nothing heavy; `trainer check` calls it. `report` is a `BatchReport` whose
    places begin at the root of the file, `view` a `FileView`.
    """

    def train_step(
        self, data: Batch, *, epoch: int, total_epochs: int, iterations: int, **kwargs: Any
    ) -> dict[str, Any]:
        """Do one optimizer step on a normalised batch on the device; return scalar metrics.

        Args:
            data: This rank's part of the global batch.
            epoch: Complete passes over the data.
            total_epochs: Passes of the whole run, rounded up.
            iterations: Optimizer steps done before this one.
            **kwargs: Room for later engine versions.
        """
        ...


@runtime_checkable
class DatasetFactory(Protocol):
    """Opens a data set. Constructed with the keys of the `data:` section but the loader's.

    A factory that can say what its batches look like without reading data has another method,
    `describe_batch(size: int) -> Batch | None`: a batch of `size` samples on torch's meta device,
    None where that is not known yet. `trainer check --deep` sends it through the model.

    A class whose batches always have the same keys names them in a literal `batch_keys = ("x",
    "y")`. Where they depend on parameters or files, `batch_keys = "module:function"` names a
    function `(parameters, report) -> BatchShapes | None` in a module that imports nothing heavy.
    `trainer check` holds `io`, the model's first layers and the trainer against them.
    """

    def build(self, opt_params: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Return `{"dataset": ..., "norm_stats": {...}}`, optionally `"val_dataset"`.

        Args:
            opt_params: `local_rank` (int), `dist_enabled` (bool), `save_dir` (str).
            params: Free parameters; empty when the constructor took them all.

        Returns:
            `dataset` has `__len__` and either `__getitems__(indices: int64 array) -> Batch`
            (one ready batch, preferred) or `__getitem__(index) -> Batch`. `norm_stats` maps a
            batch key to `{"mode": "mean_std"|"min_max"|"quantiles"|"identity", <statistic>: list}`
            and must be JSON data. A `dataset` that has `features` (key to something with `shape`,
            without the batch dimension, and `dtype`) and `fps` tells who serves or exports the
            policy what its inputs are. One that has `written` (texts) tells `trainer run --dry-run`
            what it recorded, downloaded or keeps on the disk.
        """
        ...


@runtime_checkable
class IOMapping(Protocol):
    """Says which parts of a batch a model takes and a loss compares with."""

    def model_inputs(self, batch: Batch) -> dict[str, Any]:
        """Return the keyword arguments of the model's forward."""
        ...

    def loss_targets(self, batch: Batch) -> dict[str, Any]:
        """Return the targets by name."""
        ...


@runtime_checkable
class LossFactory(Protocol):
    """Builds a loss module."""

    def build(self) -> nn.Module:
        """Return the loss; called as `loss(prediction, target)`."""
        ...


@runtime_checkable
class OptimizerFactory(Protocol):
    """Builds an optimizer; may bring its own schedule.

    A factory with a method `schedule(optimizer, total_steps) -> LRScheduler` has that schedule
    stepped by the engine after every optimizer step. The class may name a `parameter_check`, as a
    `Trainer` does.
    """

    def build(self, params: ParameterGroups) -> torch.optim.Optimizer:
        """Return an optimizer over groups `{"params": [...], "name": component}`."""
        ...


@runtime_checkable
class SchedulerFactory(Protocol):
    """Builds a learning-rate schedule. `interval` is `step`, `epoch` or `metric`."""

    interval: str

    def build(self, optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        """Return an object with `step()`, `state_dict()` and `load_state_dict()`."""
        ...


@runtime_checkable
class MetricLogger(Protocol):
    """Receives metrics on rank 0. An error in a logger never stops the training."""

    def start(self, run: Mapping[str, Any]) -> None:
        """Open the log; `run` has `name`, `out_dir`, `config` (plain data), `resumed_step`."""
        ...

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the metrics of one logged step."""
        ...

    def finish(self, status: str) -> None:
        """Close the log; status is `completed`, `interrupted` or `failed`."""
        ...


@runtime_checkable
class Metric(Protocol):
    """A value accumulated over validation batches."""

    def update(self, prediction: Any, batch: Batch) -> None:
        """Add one validation batch."""
        ...

    def compute(self) -> dict[str, float]:
        """Return the metrics of all batches since the last call, and reset."""
        ...


@dataclass(slots=True)
class EvaluationContext:
    """What an evaluator works with.

    Attributes:
        trainer: The trainer, whose `policy()` acts if it has one.
        models: Unwrapped components, in eval mode.
        normalizer: `trainer_core.normalize.Normalizer` with the data set's statistics.
        device: Where the models are.
        step: Optimizer steps done.
        out_dir: `<run>/evaluation/step-000000120`, not yet created.
        seed: The run's seed.
        final: True for the evaluation at the end of the run.
        progress: Called as `progress(done, total, text)`.
        interrupted: Polled between episodes; True asks to stop early.
    """

    trainer: Any
    models: nn.ModuleDict
    normalizer: Any
    device: torch.device
    step: int
    out_dir: Path
    seed: int
    final: bool
    progress: Callable[[int, int, str], None] = field(default=lambda _d, _t, _s: None)
    interrupted: Callable[[], bool] = field(default=lambda: False)


@dataclass(frozen=True, slots=True)
class Exportable:
    """What a trainer's `exportable(normalizer, batch)` gives to `trainer ckpt export --format`.

    Attributes:
        module: Called with the tensors of `inputs` in their order; returns one tensor, or a tuple
            in the order of `outputs`. It does the whole work, from the data set's units to them,
            draws no random numbers and has no branch that depends on values.
        inputs: Example tensors by name, made from the example batch. Axis 0 of all inputs and
            outputs is the batch and of any length; the other sizes are fixed.
        outputs: Names of what `module` returns.
        units: What the numbers of an input or output mean, by name.
        about: JSON data that goes along, for whoever calls the exported program.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    units: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Evaluator(Protocol):
    """Measures a policy, usually in a simulator.

    `every` steps (0: only at the end) is read from the `evaluation:` section by the engine. The
    class may name a `parameter_check`, as a `Trainer` does.
    """

    def evaluate(self, context: EvaluationContext) -> dict[str, Any]:
        """Return metrics: numbers, plus `success_rate`, `n` and `ci95` where they make sense."""
        ...


@runtime_checkable
class Initializer(Protocol):
    """Fills the weight of a linear or convolutional layer; a plain function.

    `init:` of a component names it. Biases become zero, pretrained parts are left alone.
    """

    def __call__(self, weight: Tensor, /) -> None:
        """Change the weight (out, in, *kernel) in place; no gradient is recorded."""
        ...


@runtime_checkable
class Runner(Protocol):
    """Starts the processes of a run and calls the one engine loop in each.

    Constructed with the keys of the `runner:` section. A runner that can train several experiments
    side by side may also have `sweep(experiments)`, which returns a `RunResult` for each of them in
    their order; `trainer run --sweep` then hands it the grid. If it takes a keyword `report` too,
    that is a `SweepReport`, and what it is told is shown in a table while the trials run.

    A parameter that holds keys to lay over those of another section is named in a literal
    `laid_over = {"rollout": "evaluation"}`; `trainer check` looks these keys up there. The class
    may name a `parameter_check`, as a `Trainer` does.
    """

    def run(self, experiment: Any) -> Any:
        """Run a `LoadedExperiment` and return its `RunResult`."""
        ...


class SweepReport(Protocol):
    """Hears from a runner how the trials of a sweep go.

    `number` counts the experiments that the runner was given, from 0. All calls come from the
    thread that called `sweep`; none but `begin` raises.
    """

    def begin(self, number: int) -> None:
        """Take note that a trial is about to be started.

        Raises:
            StorageError: The sweep cannot be written down; nothing is to be started.
        """
        ...

    def progress(
        self, number: int, step: int, total_steps: int, metrics: Mapping[str, float]
    ) -> None:
        """Take how far a trial is, and its newest metrics as far as they are known."""
        ...

    def write(self, number: int, stream: str, text: str) -> None:
        """Take whole lines that a trial wrote to `stdout` or `stderr`."""
        ...

    def end(self, number: int, result: RunResult, error: str = "") -> None:
        """Take how a trial ended, as soon as it has, and why if it was not completed."""
        ...
