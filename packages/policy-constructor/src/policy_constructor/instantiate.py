"""Specs -> objects, and a graph IR -> module: the only place that calls what a file names."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import nn

from policy_constructor.discovery.errors import RegistryError
from policy_constructor.errors import ConfigError, Problem
from policy_constructor.graph.ir import GraphIR, SpecIR
from policy_constructor.graph.specs import has_prefix
from policy_constructor.graph_module import GraphModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from policy_constructor.discovery.registry import Registry
    from policy_constructor.graph.ir import StepIR

__all__ = ["instantiate_graph", "instantiate_spec"]


def instantiate_graph(ir: GraphIR, blocks: Registry[Any], ops: Registry[Any]) -> nn.Module:
    """Return the module of a graph; a model that is one block is that block.

    Args:
        ir: The compiled section.
        blocks: Registry of blocks.
        ops: Registry of ops.

    Raises:
        ConfigError: A block refused its arguments, failed to import or is no module; an op cannot
            be called as the file does.
    """
    if ir.block is not None:
        return _module(ir.block, blocks)
    modules: dict[str, nn.Module] = {}
    for module in ir.modules:
        if isinstance(module.body, GraphIR):
            modules[module.name] = instantiate_graph(module.body, blocks, ops)
        else:
            modules[module.name] = _module(module.body, blocks)
    functions = {step.callee: _op(step, ops) for step in ir.steps if step.kind == "op"}
    return GraphModel(ir, modules, functions)


def instantiate_spec(spec: SpecIR, blocks: Registry[Any]) -> Any:
    """Return what a spec builds, nested specs first.

    Raises:
        ConfigError: The factory cannot be imported or refused its arguments.
    """
    args = [_value(item, blocks) for item in spec.args]
    kwargs = {name: _value(item, blocks) for name, item in spec.kwargs.items()}
    factory = _import_target(spec) if spec.imported else _load(spec, blocks)
    try:
        inspect.signature(factory).bind(*args, **kwargs)
    except TypeError as error:
        raise _failure(spec, f"{spec.key}: {error}") from error
    except ValueError:
        pass  # a factory written in C has no signature; the call itself decides
    try:
        return factory(*args, **kwargs)
    except ConfigError:
        raise
    except Exception as error:  # the code of a block may raise anything
        reason = str(error) or type(error).__name__
        raise _failure(spec, f"{spec.key} refused its arguments: {reason}") from error


def _value(value: Any, blocks: Registry[Any]) -> Any:
    if isinstance(value, SpecIR):
        return instantiate_spec(value, blocks)
    if isinstance(value, dict):
        return {key: _value(item, blocks) for key, item in value.items()}
    if isinstance(value, list):
        return [_value(item, blocks) for item in value]
    return value


def _module(spec: SpecIR, blocks: Registry[Any]) -> nn.Module:
    built = instantiate_spec(spec, blocks)
    if not isinstance(built, nn.Module):
        raise _failure(spec, f"{spec.key} built a {type(built).__name__}, a torch module is needed")
    return built


def _load(spec: SpecIR, blocks: Registry[Any]) -> Callable[..., Any]:
    try:
        factory: Callable[..., Any] = blocks[spec.key]
    except RegistryError as error:
        raise _failure(spec, str(error)) from error
    return factory


def _import_target(spec: SpecIR) -> Callable[..., Any]:
    """Import a `_target_`; what is found must itself live under an allowed prefix."""
    module, _, attr = spec.target.partition(":")
    try:
        found: Any = getattr(import_module(module), attr)
    except (ImportError, AttributeError) as error:
        raise _failure(spec, f"cannot import {spec.key!r}: {error}") from error
    home = getattr(found, "__module__", None)
    if not callable(found) or not isinstance(home, str) or not has_prefix(home, spec.prefixes):
        message = f"{spec.key!r} really is from {home!r}, not under an allowed prefix"
        raise _failure(spec, message)
    return found  # type: ignore[no-any-return] # callable() does not narrow Any


def _op(step: StepIR, ops: Registry[Any]) -> Callable[..., Any]:
    """Load an op and check that it can be called by its arguments' number and names."""
    try:
        function: Callable[..., Any] = ops[step.callee]
    except RegistryError as error:
        raise ConfigError(Problem(str(error), step.path, step.location, "op")) from error
    if not str(getattr(function, "__name__", "")).isidentifier():
        message = f"op {step.callee!r} must be a function with a name, found {function!r}"
        raise ConfigError(Problem(message, step.path, step.location, "op"))
    try:
        inspect.signature(function).bind(*step.args, **step.kwargs)
    except TypeError as error:
        message = f"op {step.callee!r}: {error}"
        raise ConfigError(Problem(message, step.path, step.location, "op")) from error
    except ValueError:
        pass  # a function written in C has no signature; the call itself decides
    return function


def _failure(spec: SpecIR, message: str) -> ConfigError:
    return ConfigError(Problem(message, spec.path, spec.location, "block"))
