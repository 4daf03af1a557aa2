"""Checks of constructor arguments that the blocks share: each names the argument and its value."""

from __future__ import annotations

__all__ = ["check_divides", "check_fraction", "check_positive"]


def check_positive(**sizes: int | None) -> None:
    """Refuse a size below 1.

    Raises:
        ValueError: A size is not a positive whole number; None is accepted (not given).
    """
    for name, size in sizes.items():
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            msg = f"{name} must be a positive whole number, got {size!r}"
            raise ValueError(msg)


def check_fraction(**fractions: float) -> None:
    """Refuse a probability outside [0, 1).

    Raises:
        ValueError: A probability is not in [0, 1).
    """
    for name, fraction in fractions.items():
        if not 0.0 <= fraction < 1.0:
            msg = f"{name} must be in [0, 1), got {fraction!r}"
            raise ValueError(msg)


def check_divides(divisor_name: str, divisor: int, name: str, value: int) -> None:
    """Refuse a divisor that leaves a remainder.

    Raises:
        ValueError: `value` is no multiple of `divisor`; both are named.
    """
    if value % divisor:
        msg = f"{name}={value} must be a multiple of {divisor_name}={divisor}"
        raise ValueError(msg)
