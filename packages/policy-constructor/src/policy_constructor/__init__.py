"""A YAML language and a YAML-first constructor of torch models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policy_constructor.build import build_model
    from policy_constructor.config import ResolvedConfig, resolve_config
    from policy_constructor.errors import ConfigError, Problem
    from policy_constructor.graph.compiler import compile_graph
    from policy_constructor.graph.ir import GraphIR

__all__ = [
    "ConfigError",
    "GraphIR",
    "Problem",
    "ResolvedConfig",
    "build_model",
    "compile_graph",
    "resolve_config",
]

__version__ = "0.1.0"

_HOMES = {
    "ConfigError": "policy_constructor.errors",
    "GraphIR": "policy_constructor.graph.ir",
    "Problem": "policy_constructor.errors",
    "ResolvedConfig": "policy_constructor.config",
    "build_model": "policy_constructor.build",
    "compile_graph": "policy_constructor.graph.compiler",
    "resolve_config": "policy_constructor.config",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used; only `build_model` needs torch."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, those not yet imported included."""
    return sorted({*globals(), *__all__})
