"""One optimizer step around a loss: autocast, one backward, accumulation, clipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from trainer_core.errors import TrainerError
from trainer_core.phases import Phases
from trainer_core.protocols import StepContext
from trainer_core.random import KeyedRandom, derive_seed
from trainer_core.ranks import LocalRanks
from trainer_core.seeding import make_step_seeder
from trainer_core.tree import batch_size, slice_batch
from trainer_core.update import Buffers, Clipping, LossScale, Outcome, Update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch import nn

    from trainer_core.protocols import Batch
    from trainer_core.ranks import Ranks

__all__ = ["LossTrainer", "NonFiniteStep", "Phases", "StepOptions"]

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What the engine decides about a step.

    Attributes:
        seed: The run's seed.
        total_steps: Optimizer steps of the whole run.
        global_batch: Samples of one step over all ranks.
        precision: `fp32`, `bf16` or `fp16`, the number format of the forward pass.
        grad_clip_norm: Largest L2 norm of the gradient; a mapping has one for each of some
            components; None: not clipped.
        grad_clip_value: Largest absolute value of an entry of the gradient; None: any.
        grad_clip_scope: Whether one norm is for all components together (`global`) or for each
            of them (`component`).
        on_nonfinite: What the engine does about a step whose loss or gradient is not finite:
            `stop`, `skip` or `rollback`.
        grad_accum_steps: Micro-batches that a rank's part of the batch is cut into.
        ranks: The processes that share the step.
    """

    seed: int = 0
    total_steps: int = 1
    global_batch: int | None = None
    precision: str = "fp32"
    grad_clip_norm: float | Mapping[str, float] | None = None
    grad_clip_value: float | None = None
    grad_clip_scope: Literal["global", "component"] = "global"
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    grad_accum_steps: int = 1
    ranks: Ranks = field(default_factory=LocalRanks)


@dataclass(frozen=True, slots=True)
class NonFiniteStep:
    """A step whose loss or gradient is not finite; no weight was changed.

    Attributes:
        batch: This rank's part of its batch, normalised.
        step: Optimizer steps done before it.
        epoch: Passes over the data that are complete.
        metrics: What it would have logged.
    """

    batch: Batch
    step: int
    epoch: int
    metrics: Mapping[str, Any]


class LossTrainer(ABC):
    """The base class of trainers that write only their loss.

    Subclasses implement `compute_losses`; the step around it is the engine's: autocast, one
    backward of the total, accumulation that equals one large batch, clipping, every optimizer
    stepped once.

    Attributes:
        metric_reductions: How the values that micro-batches and ranks have of a metric become one,
            by its name: `sum`, `max`, or the mean over their samples, which is the default.
        is_skipped: Whether the newest step changed no weights: its gradient was not finite, or
            overflowed in fp16. Schedules and averages do not move then.
        on_nonfinite: Called with a step that is not finite; returns to have it skipped, or
            raises. Set by the engine.
        on_sample_losses: Called in each step with the losses that `compute_losses` told of this
            rank's samples, `(B,)` in the batch's order, on the device. Set by a runner that draws
            samples by them; None: nobody asks.
        phases: Where the time of steps goes.

    Args:
        models: The components by name.
        optimizers: The optimizers by name.
        loss: The loss module of the `loss:` section, or None.
        device: Where the models and the batches are.
    """

    metric_reductions: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(
        self,
        models: nn.ModuleDict,
        optimizers: Mapping[str, torch.optim.Optimizer],
        loss: nn.Module | None,
        device: torch.device | str,
    ) -> None:
        self.models = models
        self.optimizers = dict(optimizers)
        self.loss = loss
        self.device = torch.device(device)
        self.is_skipped = False
        self.on_nonfinite: Callable[[NonFiniteStep], None] = _refuse
        self.on_sample_losses: Callable[[Tensor], None] | None = None
        self.phases = Phases()
        self.configure(StepOptions())

    @abstractmethod
    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Return the total to minimise, and what is worth logging.

        Args:
            batch: A normalised (micro-)batch on the device.
            step: Where in the run this is, and its random numbers.

        Returns:
            A scalar, and scalar metrics by name. Metrics are never back-propagated; the total is
            logged as `loss` unless a metric has that name.
        """

    def loss_weight(self, batch: Batch) -> Tensor | int:
        """Return what the loss of this micro-batch was divided by; default: its samples.

        A loss that is a mean over unmasked elements returns their count here, so that a batch in
        several micro-batches gives exactly the gradient of the batch in one.
        """
        return batch_size(batch)

    def configure(self, options: StepOptions) -> None:
        """Take the engine's decisions; called once, after construction."""
        self.options = options
        self._losses = self._detached_losses
        is_ours = type(self).train_step is LossTrainer.train_step
        if is_ours or options.ranks.is_sharded:  # sharded, no other backward pass is possible
            self._losses = options.ranks.parallelize(self.models, self._detached_losses)
        else:
            options.ranks.average_gradients(self.models)
        self._is_weighted = type(self).loss_weight is not LossTrainer.loss_weight
        is_fp16 = options.precision == "fp16"
        self.loss_scale = LossScale() if is_fp16 else None
        self._update = Update(
            self.models,
            self.optimizers,
            Clipping(options.grad_clip_norm, options.grad_clip_value, options.grad_clip_scope),
            self.loss_scale,
            # On the CPU reading a number waits for nothing.
            checks=self.device.type == "cpu" or options.on_nonfinite != "stop",
            ranks=options.ranks,
        )
        self._kept = Buffers(self.models) if options.on_nonfinite == "skip" else None
        self._reseed = make_step_seeder(options.seed, self.device)

    def train_step(
        self,
        data: Batch,
        *,
        epoch: int,
        total_epochs: int,  # noqa: ARG002 - part of the contract
        iterations: int,
        **kwargs: Any,  # noqa: ARG002 - room for later engine versions
    ) -> dict[str, Any]:
        """Do one optimizer step; return the metrics as detached scalar tensors."""
        if self._kept is not None:
            self._kept.save()
        metrics = self.compute_gradients(data, epoch=epoch, iterations=iterations)
        start = perf_counter()
        outcome = self._update.apply(metrics)
        self.phases.optimizer_s += perf_counter() - start
        self.is_skipped = outcome is not Outcome.APPLIED
        if self.is_skipped:
            if outcome is Outcome.NONFINITE:
                self.on_nonfinite(NonFiniteStep(data, iterations, epoch, metrics))
            if self._kept is not None:
                self._kept.restore()
            metrics = {}  # not numbers to average with those of other steps
        if self.loss_scale is not None:
            metrics["loss_scale"] = self.loss_scale.value
        return metrics

    def compute_gradients(self, data: Batch, *, epoch: int, iterations: int) -> dict[str, Any]:
        """Go forward and backward, and leave the weights; return the metrics.

        The gradients are those of the whole step, times the loss scale where there is one.
        """
        self._update.zero_grad()
        context = self.make_context(data, step=iterations, epoch=epoch)
        told: list[Tensor] = []
        if self.on_sample_losses is not None:
            context.listener = told.append
        cut = self.options.grad_accum_steps > 1
        metrics = self._accumulate(data, context) if cut else self._whole(data, context)
        if told and self.on_sample_losses is not None:
            self.on_sample_losses(_join(told, batch_size(data)))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs of the trainer itself, as JSON data."""
        return {} if self.loss_scale is None else {"loss_scale": self.loss_scale.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        if self.loss_scale is not None and "loss_scale" in state:
            self.loss_scale.load_state_dict(state["loss_scale"])

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._update.zero_grad()

    def reseed(self, step: int) -> None:
        """Seed torch's generators as the loop does before a step."""
        self._reseed(step, self.options.ranks.rank * self.options.grad_accum_steps)

    @torch.no_grad()
    def validation_step(self, data: Batch, step: StepContext) -> dict[str, Any]:
        """Return the metrics of a validation batch, as detached scalar tensors."""
        with self._autocast():
            total, logged = self.compute_losses(data, step)
        return {"loss": total, **logged}

    def predict(self, data: Batch, step: StepContext) -> Any:
        """Return the prediction that `metrics:` components compare with the batch.

        Raises:
            NotImplementedError: This trainer has none.
        """
        raise NotImplementedError

    def make_context(
        self,
        data: Batch,
        *,
        step: int,
        epoch: int,
        training: bool = True,
        start: int = 0,
        total: int | None = None,
    ) -> StepContext:
        """Return what a loss may know about a step, for this rank's part of its batch.

        While validating, `step` is the number of the batch, of which `data` is the part from
        sample `start` on and `total` the length: its noise is the same each time, however the
        batch is cut.
        """
        options = self.options
        count = batch_size(data)
        if training:
            rank, world_size = options.ranks.rank, options.ranks.world_size
            random = KeyedRandom(
                options.seed,
                step,
                total=options.global_batch or count * world_size,
                start=rank * count,
                count=count,
                device=self.device,
            )
        else:
            seed = derive_seed(options.seed, "validation")
            random = KeyedRandom(
                seed,
                step,
                total=count if total is None else total,
                start=start,
                count=count,
                device=self.device,
            )
        return StepContext(step, options.total_steps, epoch, random, training)

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _AUTOCAST_DTYPES.get(self.options.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)

    def _backward(
        self, batch: Batch, context: StepContext, weight: Tensor | float | None
    ) -> dict[str, Any]:
        start = perf_counter()
        if self.options.precision == "fp32":
            total, metrics = self._losses(batch, context)
        else:
            with self._autocast():
                total, metrics = self._losses(batch, context)
        middle = perf_counter()
        if self.loss_scale is not None:
            total = total * self.loss_scale.value
        (total if weight is None else total * weight).backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        self.phases.forward_s += middle - start
        self.phases.backward_s += perf_counter() - middle
        return metrics

    def _detached_losses(self, batch: Batch, context: StepContext) -> tuple[Tensor, dict[str, Any]]:
        """Return the total, and the metrics without their graphs."""
        total, logged = self.compute_losses(batch, context)
        metrics: dict[str, Any] = {"loss": total.detach()}
        for name, value in logged.items():
            metrics[name] = value.detach() if type(value) is Tensor else value
        return total, metrics

    def _whole(self, data: Batch, context: StepContext) -> dict[str, Any]:
        """Go backward once; every rank counts as much as its loss was divided by."""
        if not self._is_weighted or self.options.ranks.world_size == 1:
            return self._backward(data, context, None)
        weight = self.loss_weight(data)
        share = weight / self._mean_over_ranks(weight)
        metrics = self._backward(data, context, share)
        return self._weigh(metrics, share)

    def _weigh(self, metrics: Mapping[str, Any], share: Tensor | float) -> dict[str, Any]:
        """Scale what is a mean over samples; sums and maxima of parts are what they are."""
        others = self.metric_reductions
        return {
            name: value if others.get(name, "mean") != "mean" else value * share
            for name, value in metrics.items()
        }

    def _mean_over_ranks(self, weight: Tensor | float) -> Tensor:
        ranks = self.options.ranks
        own = torch.as_tensor(weight, dtype=torch.float32, device=self.device)
        return (ranks.sum(own) / ranks.world_size).clamp(min=1e-12)

    def _accumulate(self, data: Batch, context: StepContext) -> dict[str, Any]:
        parts = self._cut(data)
        weights = [self.loss_weight(batch) for _, _, batch in parts]
        whole = sum(weights[1:], weights[0])
        if isinstance(whole, Tensor):
            whole = whole.clamp(min=1e-12)  # a batch of nothing but padding has no gradient
        ranks = self.options.ranks
        if self._is_weighted and ranks.world_size > 1:
            whole = self._mean_over_ranks(whole)
        first, last = ranks.rank * len(parts), len(parts) - 1
        summed: dict[str, Any] = {}
        for number, (begin, end, batch) in enumerate(parts):
            share = weights[number] / whole
            self._reseed(context.step, first + number)
            part = replace(context, random=context.random.slice(begin, end))
            with nullcontext() if number == last else ranks.accumulate():
                metrics = self._backward(batch, part, share)
            for name, value in self._weigh(metrics, share).items():
                if self.metric_reductions.get(name) == "max" and name in summed:
                    summed[name] = torch.maximum(
                        torch.as_tensor(summed[name]), torch.as_tensor(value)
                    )
                else:
                    summed[name] = summed.get(name, 0.0) + value
        return summed

    def _cut(self, data: Batch) -> Sequence[tuple[int, int, Batch]]:
        count = batch_size(data)
        size = count // self.options.grad_accum_steps
        return [
            (begin, begin + size, slice_batch(data, begin, begin + size))
            for begin in range(0, size * self.options.grad_accum_steps, size)
        ]


def _join(told: Sequence[Tensor], count: int) -> Tensor:
    """Return the losses that micro-batches told as those of the batch.

    Raises:
        TrainerError: They are not one number for each sample.
    """
    losses = torch.cat([values.flatten() for values in told])
    if len(losses) != count:
        msg = f"tell_sample_losses was given {len(losses)} losses for a batch of {count} samples"
        raise TrainerError(msg)
    return losses


def _refuse(step: NonFiniteStep) -> None:
    msg = f"the loss or the gradient of step {step.step + 1} is not finite"
    raise TrainerError(msg)
