"""Sizes that a file leaves open: found from a sample, or from declared shapes without computing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from policy_constructor.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from policy_constructor.graph.ir import GraphIR

__all__ = ["lazy_modules", "materialize", "require_materialized"]

_VARYING_SIZES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def lazy_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules, by dotted name, that still wait for their sizes."""
    return {
        name: cast("nn.Module", module)
        for name, module in model.named_modules()
        if isinstance(module, LazyModuleMixin) and _is_waiting(module)
    }


def require_materialized(model: nn.Module, name: str = "model") -> None:
    """Refuse a model with parameters that have no size yet.

    Call it before parameters are given to an optimizer, initialised or counted.

    Raises:
        ConfigError: Names the lazy modules and the two cures.
    """
    waiting = list(lazy_modules(model))
    if waiting:
        message = f"{name} has parameters without a size yet: {', '.join(waiting)}"
        expected = "declared input shapes (inputs: {x: [null, 39]}) or build_model(..., sample=x)"
        raise ConfigError(Problem(message, name, code="lazy", expected=expected))


def materialize(model: nn.Module, ir: GraphIR, sample: Any = None) -> None:
    """Give lazy modules their sizes from a sample, else from declared shapes, if there are any.

    The model is called once in eval mode without gradients: batch statistics stay as they are.

    Args:
        model: The module of `ir`.
        ir: Its graph.
        sample: A tensor, a tuple or list of inputs in order, or a mapping by name.

    Raises:
        ConfigError: The call failed, with torch's message.
    """
    if not lazy_modules(model):
        return
    if sample is not None:
        _call(model, ir, sample, "the sample")
    elif ir.input_specs and all(item.shape for item in ir.input_specs if item.required):
        _materialize_on_meta(model, ir)


def _materialize_on_meta(model: nn.Module, ir: GraphIR) -> None:
    """Run a copy on the meta device and repeat on the model the sizes that its modules saw.

    The memo makes the copy share nothing with the model and hold no weights.
    """
    memo = {id(tensor): _on_meta(tensor) for tensor in (*model.parameters(), *model.buffers())}
    shadow = copy.deepcopy(model, memo)
    seen: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    for name, module in lazy_modules(shadow).items():
        module.register_forward_pre_hook(_recorder(seen, name), with_kwargs=True)
    _call(shadow, ir, _declared_inputs(ir), "shape inference from the declared inputs")
    for name, module in lazy_modules(model).items():
        if name in seen:
            args, kwargs = seen[name]
            lazy: Any = module  # torch has no public way to give a lazy module its sizes
            lazy._infer_parameters(module, args, kwargs)  # noqa: SLF001 - see the line above


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor without storage of the same kind; one without a size stays so."""
    if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
        kind: Any = type(tensor)  # torch does not type the constructors
        unsized: torch.Tensor = kind(device="meta", dtype=tensor.dtype)
        return unsized
    moved = tensor.to("meta")
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


def _is_waiting(module: Any) -> bool:
    return bool(module.has_uninitialized_params())


def _recorder(seen: dict[str, tuple[Any, Any]], name: str) -> Callable[[nn.Module, Any, Any], None]:
    """Return a hook that keeps the arguments of a module's first call."""

    def record(_module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.setdefault(name, (args, kwargs))

    return record


def _declared_inputs(ir: GraphIR) -> dict[str, torch.Tensor]:
    sizes: dict[str | None, int] = {None: _VARYING_SIZES[0]}
    inputs: dict[str, torch.Tensor] = {}
    for item in ir.input_specs:
        shape = []
        for size in item.shape or ():
            if isinstance(size, str) and size not in sizes:
                sizes[size] = _VARYING_SIZES[len(sizes) % len(_VARYING_SIZES)]
            shape.append(size if isinstance(size, int) else sizes[size])
        if item.shape is not None:
            dtype = getattr(torch, item.dtype)
            inputs[item.name] = torch.zeros(shape, dtype=dtype, device="meta")
    return inputs


def _call(model: nn.Module, ir: GraphIR, sample: Any, what: str) -> None:
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    if isinstance(sample, dict):
        kwargs = sample
    elif isinstance(sample, (tuple, list)):
        args = tuple(sample)
    else:
        args = (sample,)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    except Exception as error:  # the code of a block may raise anything
        reason = str(error) or type(error).__name__
        message = f"{what} does not fit the model: {reason}"
        raise ConfigError(Problem(message, ir.path, ir.location, "lazy")) from error
    finally:
        for module, mode in training.items():
            module.training = mode
