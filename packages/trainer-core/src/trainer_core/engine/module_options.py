"""What is done to a component's forward pass: compiled, or computed again in the backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from policy_constructor.errors import ConfigError
from policy_constructor.spelling import nearest
from trainer_core.engine.optimizers import component_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["apply_module_options", "recompute_activations"]

_COMPILED_TO_CODE = "inductor"


def apply_module_options(
    loaded: LoadedExperiment, models: nn.ModuleDict, device: torch.device
) -> None:
    """Do what `activation_checkpointing` and `compile` of the components ask for.

    Neither changes the name of a parameter, so checkpoints are the same with and without.

    Raises:
        ConfigError: The compiler's back end does not exist, or needs tools that are missing.
    """
    for name, module in models.items():
        section = loaded.config.models[name]
        if section.activation_checkpointing and not section.freeze:
            recompute_activations(module)
        if section.compile is not None:
            problem = _missing_tool(section.compile.backend, device)
            if problem is not None:
                message, suggestions = problem
                path = (*component_place(loaded, name), "compile")
                raise ConfigError(loaded.resolved.problem(path, message, suggestions=suggestions))
            module.compile(**section.compile.model_dump())


def recompute_activations(module: nn.Module) -> None:
    """Keep only the inputs of a component's blocks for the backward pass.

    Blocks are the entries of its outermost lists of layers (`nn.ModuleList`, `nn.Sequential`); a
    component without any is one block. Each is computed again in the backward pass, with the same
    random numbers.
    """
    for block in list(_blocks(module)) or [module]:
        # As a class of its own, the block can still be copied; its name stays.
        kind = type(block)
        block.__class__ = type(kind.__name__, (_Recomputed, kind), {"__module__": kind.__module__})


class _Recomputed(nn.Module):
    """Put in front of a block's own class."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        own = super().forward
        if not (self.training and torch.is_grad_enabled()):
            return own(*args, **kwargs)
        return checkpoint(own, *args, use_reentrant=False, **kwargs)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    is_list = isinstance(module, nn.ModuleList | nn.Sequential)
    for child in module.children():
        if is_list and next(child.parameters(), None) is not None:
            yield child
        elif not is_list:
            yield from _blocks(child)


def _missing_tool(backend: str, device: torch.device) -> tuple[str, tuple[str, ...]] | None:
    """Return why a back end cannot be used here, and spellings that are near; None if it can."""
    known = [*torch.compiler.list_backends(None)]
    if backend not in known:
        return f"torch has no compiler back end {backend!r}", nearest(backend, known)
    cure = "install it, or set 'compile: {backend: aot_eager}', which needs none"
    if backend == _COMPILED_TO_CODE and device.type == "cpu" and not _has_compiler():
        return f"compiling for the CPU needs a C++ compiler, and there is none: {cure}", ()
    if backend == _COMPILED_TO_CODE and device.type == "cuda" and not _has_triton():
        return f"compiling for CUDA needs the package triton, and there is none: {cure}", ()
    return None


def _has_compiler() -> bool:
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415 - heavy; what inductor asks
    from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415 - the same

    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False


def _has_triton() -> bool:
    from torch.utils._triton import has_triton  # noqa: PLC0415 - what inductor asks

    return bool(has_triton())
