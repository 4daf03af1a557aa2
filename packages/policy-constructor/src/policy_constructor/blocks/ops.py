"""Ops that neither `operator` nor torch has; a graph calls them as `op:<name>`."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["identity"]

T = TypeVar("T")


def identity(value: T) -> T:
    """Return the value itself: a second name for a value of the graph."""
    return value
