"""Trained weights in parts, one on each rank: torch's FSDP2 around the loss of a step."""

from __future__ import annotations

from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils._pytree import tree_map

from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.distributed.options import unwrappable
from trainer_core.errors import UserError
from trainer_core.shards import is_sharded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trainer_core.distributed.options import GroupOptions

__all__ = ["ShardedModels", "require_elementwise"]

Losses = TypeVar("Losses")

_BFLOAT16 = {"bf16": torch.bfloat16, "fp32": None}
_NEWEST = ("reset_iter_state", "set_reduce_scatter_unused_params")
_NOT_ELEMENTWISE = ("Adafactor", "LBFGS", "Muon", "SparseAdam")


class _Step(nn.Module):
    """The trained components as one module whose forward pass is the loss of the step."""

    def __init__(self, trained: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(trained)
        self.losses: Callable[..., Any] = lambda: None

    def forward(self, *args: Any) -> Any:
        return self.losses(*args)


class ShardedModels:
    """The trained components, of which each rank holds a part.

    All weights but those of `fsdp_wrap` are gathered before the loss and freed after the backward
    pass. In between a trainer may call any method of a component, any number of times; modules of
    `fsdp_wrap` are to be called. The components stay unwrapped, and frozen ones stay whole.

    Args:
        models: All components, on their device.
        options: The runner's options.
        device_type: `cpu` or `cuda`.

    Raises:
        UserError: A component cannot be sharded, or a pattern of `fsdp_wrap` matches nothing.
    """

    def __init__(self, models: nn.ModuleDict, options: GroupOptions, device_type: str) -> None:
        trained = {
            name: module
            for name, module in models.items()
            if any(parameter.requires_grad for parameter in module.parameters())
        }
        _require_shardable(trained)
        wrapped = _choose(models, trained, options.fsdp_wrap)
        self._reshard_after_forward = options.fsdp_reshard_after_forward
        self._step: Any = _Step(trained)
        mesh = init_device_mesh(device_type, (torch.distributed.get_world_size(),))
        param_dtype = _BFLOAT16[options.fsdp_param_dtype]
        reduce_dtype = _BFLOAT16[options.fsdp_reduce_dtype] or torch.float32
        for module in reversed(wrapped):  # inner ones first
            fully_shard(
                module,
                mesh=mesh,
                reshard_after_forward=self._reshard_after_forward,
                mp_policy=MixedPrecisionPolicy(param_dtype, reduce_dtype),
            )
        step: Any = fully_shard(
            self._step,
            mesh=mesh,
            reshard_after_forward=False,
            mp_policy=MixedPrecisionPolicy(param_dtype, reduce_dtype, cast_forward_inputs=False),
        )
        if options.find_unused_parameters:
            step.set_reduce_scatter_unused_params(True)
        if param_dtype is not None:
            for module in trained.values():
                _cast_around(module, param_dtype)
        self._modules = [m for m in self._step.modules() if isinstance(m, FSDPModule)]
        self._own = {id(parameter) for parameter in self._step.parameters()}
        self._is_begun = False

    def parallelize(
        self, models: nn.ModuleDict, losses: Callable[..., Losses]
    ) -> Callable[..., Losses]:
        """Return the losses such that weights are gathered for them, and gradients averaged.

        Raises:
            UserError: A component was copied from a sharded one.
        """
        for name, module in models.items():
            if any(is_sharded(p) and id(p) not in self._own for p in module.parameters()):
                _refuse(f"{name!r} is a copy of a trained component, which cannot be sharded")
        self._step.losses = losses
        return self._losses

    def refuse_own_step(self) -> NoReturn:
        """Refuse a trainer that owns its whole step.

        Raises:
            UserError: Always.
        """
        _refuse("the trainer owns its whole step; it has to extend trainer_core.LossTrainer")

    @contextmanager
    def accumulate(self) -> Iterator[None]:
        """Keep gradients on their rank."""
        self._step.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self._step.set_requires_gradient_sync(True)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Give every rank the whole weights, and let it use them without the others.

        Raises:
            UserError: The first time: two modules of `fsdp_wrap` share a parameter.
        """
        self._begin()
        for module in self._modules:
            module.reshard()
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            yield
        finally:
            self._step.reset_iter_state()  # the ranks have called different modules
            for module in self._modules:
                module.reshard()
                after = module is not self._step and self._reshard_after_forward
                module.set_reshard_after_forward(after, recurse=False)

    def _begin(self) -> None:
        """Call the step once without its losses: torch takes the first module called as root."""
        if self._is_begun:
            return
        self._is_begun = True
        losses, self._step.losses = self._step.losses, lambda: None
        try:
            self._step()
        except ValueError as error:
            _refuse(f"{error}".partition(". ")[0])
        self._step.losses = losses

    def _losses(self, *args: Any) -> Any:
        for module in self._modules:
            module.reshard()  # what was gathered and not used up is of an older step
        return self._step(*args)


def require_elementwise(optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Refuse optimizers that need whole matrices.

    Raises:
        UserError: One of them does.
    """
    for name, optimizer in optimizers.items():
        kind = type(optimizer).__name__
        if kind in _NOT_ELEMENTWISE:
            _refuse(f"the optimizer {name!r} ({kind}) needs whole weights; AdamW does not")


def _require_shardable(trained: Mapping[str, nn.Module]) -> None:
    if not all(hasattr(FSDPModule, name) for name in _NEWEST):
        _refuse(f"torch {torch.__version__} is too old for it; install a newer one")
    for component, module in trained.items():
        if module._compiled_call_impl is not None:  # noqa: SLF001 - torch has no other sign
            _refuse(f"models.{component}.compile cannot be had with it")
        for name, parameter in module.named_parameters():
            if parameter.ndim == 0:
                _refuse(f"{component}/{name} is a single number; give it the shape [1]")


def _choose(
    models: nn.ModuleDict, trained: Mapping[str, nn.Module], wrap: Mapping[str, list[str]]
) -> list[nn.Module]:
    """Return the modules of `fsdp_wrap`, outer ones before inner ones."""
    chosen: dict[int, nn.Module] = {}
    for component, patterns in wrap.items():
        if component not in trained:
            _refuse(unwrappable(component, [*trained], [*models]))
        modules = {
            path: module
            for path, module in trained[component].named_modules()
            if next(module.parameters(), None) is not None
            and not isinstance(module, nn.ModuleList | nn.ModuleDict)
        }
        for pattern in patterns:
            found = [m for path, m in modules.items() if _matches(pattern, path, m)]
            if not found:
                known = [*filter(None, modules), *(type(m).__name__ for m in modules.values())]
                near = did_you_mean(nearest(pattern, known))
                _refuse(f"fsdp_wrap.{component}: {pattern!r} matches no module with weights{near}")
            chosen |= {id(module): module for module in found}
    order = [module for component in trained.values() for module in component.modules()]
    return [module for module in order if id(module) in chosen]


def _matches(pattern: str, path: str, module: nn.Module) -> bool:
    parts, patterns = path.split("."), pattern.split(".")
    is_path = len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
    return (bool(path) and is_path) or type(module).__name__ == pattern


def _cast_around(module: nn.Module, dtype: torch.dtype) -> None:
    """Let a component be called with fp32 and answer in it, whatever it computes in."""

    def cast(to: torch.dtype) -> Callable[[Any], Any]:
        return lambda leaf: (
            leaf.to(to) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf
        )

    module.register_forward_pre_hook(
        lambda _, args, kwargs: (tree_map(cast(dtype), args), tree_map(cast(dtype), kwargs)),
        with_kwargs=True,
    )
    module.register_forward_hook(lambda _, __, output: tree_map(cast(torch.float32), output))


def _refuse(what: str) -> NoReturn:
    msg = f"runner.strategy fsdp: {what}"
    raise UserError(msg)
