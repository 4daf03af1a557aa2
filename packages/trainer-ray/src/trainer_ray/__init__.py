"""The Ray runners of trainer-core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer_ray.worker import train_func

__all__ = ["train_func"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what needs Ray and torch when it is asked for."""
    if name == "train_func":
        from trainer_ray.worker import train_func

        return train_func
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
