"""Imitation learning for robots: trainers, data, evaluation in simulators, recipes.

Importing this package imports nothing else: `load_policy` is loaded when it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments_il.loading import load_policy

__all__ = ["__version__", "load_policy"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load_policy":
        from experiments_il.loading import load_policy

        return load_policy
    msg = f"module 'experiments_il' has no attribute {name!r}"
    raise AttributeError(msg)
