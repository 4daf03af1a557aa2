"""How gradients become the mean over the ranks, and batch norm that of the whole batch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from trainer_core.distributed.options import GroupOptions

__all__ = ["AveragedGradients", "ParallelLosses", "convert_batch_norm"]

Losses = TypeVar("Losses")


class _StepModule(nn.Module):
    """The trained components as one module whose forward pass is the loss of the step."""

    def __init__(self, models: nn.ModuleDict, losses: Callable[..., Any]) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(
            {name: module for name, module in models.items() if _is_trained(module)}
        )
        self.losses = losses

    def forward(self, *args: Any) -> Any:
        return self.losses(*args)


class ParallelLosses(Generic[Losses]):
    """The losses of a step under one reducer, so that reducing overlaps with the backward pass.

    The models themselves stay unwrapped: names in checkpoints, hooks and evaluators are theirs.
    Frozen components are no part of it.

    Args:
        models: All components.
        losses: Returns the total and detached metrics.
    """

    def __init__(self, models: nn.ModuleDict, losses: Callable[..., Losses]) -> None:
        self._models = models
        self._call: Callable[..., Losses] = losses
        self._losses = losses
        self._reducer: DistributedDataParallel | None = None
        self._is_learning = False

    def __call__(self, *args: Any) -> Losses:
        """Return the losses; after `start`, a backward pass from them averages the gradients."""
        return self._call(*args)

    def start(self, options: GroupOptions) -> None:
        """Wrap the losses; all ranks meet here, and get rank 0's weights."""
        module = _StepModule(self._models, self._losses)
        if not module.trained:
            return
        reducer = DistributedDataParallel(
            module,
            find_unused_parameters=options.find_unused_parameters,
            static_graph=options.static_graph,
            gradient_as_bucket_view=options.gradient_as_bucket_view,
            bucket_cap_mb=options.bucket_cap_mb,
        )
        _register_hook(reducer, options.comm_hook)
        self._reducer = reducer
        self._is_learning = options.static_graph
        self._call = reducer

    def no_sync(self) -> AbstractContextManager[object]:
        """Return a context in which gradients stay local.

        A static graph is learnt from a first pass that is reduced, or torch fails; the gradients
        are the same.
        """
        if self._reducer is None or self._is_learning:
            self._is_learning = False
            return nullcontext()
        context: AbstractContextManager[object] = self._reducer.no_sync()
        return context


class AveragedGradients:
    """Averages gradients at the end of each backward pass, without touching the models.

    For trainers that own their whole step: they may call any method of a component, any number of
    times, and go backward from several losses. Averaging what is averaged already changes nothing,
    so gradients may pile up over several backward passes. It does not overlap with the pass.

    Args:
        models: The components.
    """

    def __init__(self, models: nn.ModuleDict) -> None:
        self._parameters = [p for p in models.parameters() if p.requires_grad]
        self._is_queued = False

    def start(self) -> None:
        """Listen to the gradients."""
        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(self._queue)  # type: ignore[no-untyped-call] # torch leaves it untyped

    def _queue(self, parameter: Tensor) -> None:
        del parameter
        if not self._is_queued:
            self._is_queued = True
            torch.autograd.Variable._execution_engine.queue_callback(self._average)  # noqa: SLF001 - as torch's own reducers do

    @torch.no_grad()
    def _average(self) -> None:
        self._is_queued = False
        parameters = self._parameters
        has_gradient = torch.tensor([float(p.grad is not None) for p in parameters])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([g.reshape(-1).float() for g in gradients])
        message = torch.cat([has_gradient.to(flat.device), flat])
        dist.all_reduce(message)
        message /= dist.get_world_size()
        present = message[: len(parameters)].tolist()
        position = len(parameters)
        for parameter, gradient, share in zip(parameters, gradients, present, strict=True):
            mean = message[position : position + parameter.numel()].view_as(parameter)
            position += parameter.numel()
            if share:
                gradient.copy_(mean)
                parameter.grad = gradient


class _GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - the base of all three
    """Batch norm over the samples of all ranks, for devices that `nn.SyncBatchNorm` has not.

    Put in front of a module's own class; parameters, buffers and names stay.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if not self.training:
            normalized: Tensor = super().forward(input)
            return normalized
        self._check_input_dim(input)  # type: ignore[no-untyped-call] # torch leaves it untyped
        dims = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        own = input.numel() / input.shape[1]
        count = float(_total(torch.tensor(own)))
        mean = _total(input.sum(dims)) / count
        centred = input - mean.view(shape)
        variance = _total(centred.square().sum(dims)) / count
        self._follow(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        result: Tensor = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def convert_batch_norm(models: nn.ModuleDict, device_type: str) -> None:
    """Make batch norm in the trained components see the samples of all ranks.

    Args:
        models: The components, still on the CPU.
        device_type: Where they will be.
    """
    for name, component in models.items():
        if not _is_trained(component):
            continue
        if device_type != "cpu":
            models[name] = nn.SyncBatchNorm.convert_sync_batchnorm(component)  # type: ignore[no-untyped-call] # as above
            continue
        for module in component.modules():
            kind = type(module)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - see above
                module.__class__ = type(kind.__name__, (_GlobalBatchNorm, kind), {})


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004 - torch's order
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004 - torch's order
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _total(value: Tensor) -> Tensor:
    """Return the sum over the ranks; gradients are summed on the way back."""
    total: Tensor = _Total.apply(value)  # type: ignore[no-untyped-call] # as above
    return total


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _register_hook(reducer: DistributedDataParallel, name: str) -> None:
    if name == "none":
        return
    from torch.distributed.algorithms.ddp_comm_hooks import (  # noqa: PLC0415 - seldom wanted
        default_hooks,
        powerSGD_hook,
    )

    if name == "powersgd":
        state = powerSGD_hook.PowerSGDState(process_group=None, start_powerSGD_iter=10)
        reducer.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        return
    hook = default_hooks.fp16_compress_hook if name == "fp16" else default_hooks.bf16_compress_hook
    reducer.register_comm_hook(None, hook)
