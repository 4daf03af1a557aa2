"""Annotations for the ranges of parameters, so that a value outside is found before anything runs.

    def __init__(self, width: Positive = 256, dropout: Fraction = 0.0) -> None: ...

To a type checker they are `int` and `float`. `trainer check` reads them from the source, with any
other bound that `annotated_types` or `pydantic.Field` states in `Annotated[...]`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, Le, Lt

__all__ = ["Count", "Fraction", "NonNegative", "Positive", "PositiveNumber", "Probability"]

Positive: TypeAlias = Annotated[int, Ge(1)]
"""A whole number from 1."""

Count: TypeAlias = Annotated[int, Ge(0)]
"""A whole number from 0."""

PositiveNumber: TypeAlias = Annotated[float, Gt(0)]
"""A number above 0."""

NonNegative: TypeAlias = Annotated[float, Ge(0)]
"""A number from 0."""

Fraction: TypeAlias = Annotated[float, Ge(0), Lt(1)]
"""A number from 0 to below 1."""

Probability: TypeAlias = Annotated[float, Ge(0), Le(1)]
"""A number from 0 to 1."""
