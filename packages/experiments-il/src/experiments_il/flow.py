"""Conditional flow matching as pure functions: time law, path, velocity target, integration.

Convention everywhere in this package: `t = 0` is noise, `t = 1` is data. (openpi runs time the
other way; replace `t` by `1 - t` and negate the velocity to port its code.)

Source: Lipman et al., "Flow Matching for Generative Modeling", arXiv:2210.02747, equations 20-23
with sigma_min = 0; Black et al., "pi0", arXiv:2410.24164, for the time law.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "EVALUATIONS",
    "Solver",
    "TimeLaw",
    "VelocityField",
    "endpoint",
    "evaluations",
    "integrate",
    "interpolate",
    "sample_time",
    "velocity_target",
]

TimeLaw: TypeAlias = Literal["beta(1,1.5)", "uniform"]
"""Density of the training times; `beta(1,1.5)` favours the noisy half, which is harder to learn."""

Solver: TypeAlias = Literal["euler", "midpoint", "heun", "rk4"]
"""How the ODE is integrated; all but `euler` evaluate the field more than once a step."""

VelocityField: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`v(x, t)`: x of any shape `(B, ...)`, t `(B,)`; returns the shape of x."""

EVALUATIONS: dict[str, int] = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}
"""Evaluations of the field in one step of a solver."""

_LATEST_TIME = 0.999
_INVERSE_CDF: dict[str, Callable[[Tensor], Tensor]] = {
    "beta(1,1.5)": lambda uniform: _LATEST_TIME * (1 - uniform ** (2 / 3)),
    "uniform": lambda uniform: uniform,
}


def sample_time(uniform: Tensor, law: TimeLaw = "beta(1,1.5)") -> Tensor:
    """Turn uniform numbers into flow times by the inverse of the law's distribution function.

    No rejection, so the time of a sample depends on its own random number only.

    Args:
        uniform: Numbers in [0, 1), any shape.
        law: `beta(1,1.5)` gives `0.999 (1 - u^(2/3))`, density proportional to `(1 - t)^0.5`, mean
            0.3996; `uniform` gives `u`.

    Raises:
        ValueError: The law is unknown.

    Source: pi0, appendix B, in the reversed time direction.
    """
    if law not in _INVERSE_CDF:
        message = f"unknown time law '{law}'; known: {', '.join(_INVERSE_CDF)}"
        raise ValueError(message)
    return _INVERSE_CDF[law](uniform)


def interpolate(noise: Tensor, data: Tensor, t: Tensor) -> Tensor:
    """Return the point `(1 - t) noise + t data` of the straight path.

    Args:
        noise: x_0 `(B, ...)`.
        data: x_1, same shape.
        t: Times `(B,)`.
    """
    return torch.lerp(noise, data, _per_sample(t, data))


def velocity_target(noise: Tensor, data: Tensor) -> Tensor:
    """Return the velocity `data - noise` of the straight path; it is the same at every time."""
    return data - noise


def endpoint(x_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """Return the data that one straight step from `x_t` reaches: `x_t + (1 - t) velocity`."""
    return x_t + (1 - _per_sample(t, x_t)) * velocity


def evaluations(solver: Solver, steps: int) -> int:
    """Return how often `integrate` calls the field (NFE), the figure to compare solvers by."""
    return EVALUATIONS[solver] * steps


def integrate(
    field: VelocityField, noise: Tensor, *, steps: int = 10, solver: Solver = "euler"
) -> Tensor:
    """Carry noise to data along `dx/dt = field(x, t)` from t = 0 to t = 1.

    Args:
        field: The velocity field; called `evaluations(solver, steps)` times, one after the other.
        noise: x_0 `(B, ...)`; not changed.
        steps: Equal time steps, at least 1. More steps: closer to the model's distribution and
            proportionally slower; 10 is usual, 1 averages the modes of the data.
        solver: `euler`, `midpoint`, `heun` or `rk4`.

    Raises:
        ValueError: The solver is unknown or `steps` is below 1.
    """
    if solver not in _STEPS:
        message = f"unknown solver '{solver}'; known: {', '.join(_STEPS)}"
        raise ValueError(message)
    if steps < 1:
        message = f"steps must be at least 1, got {steps}"
        raise ValueError(message)
    advance = _STEPS[solver]
    size = 1.0 / steps
    times = torch.linspace(0, 1, steps + 1, device=noise.device, dtype=noise.dtype)
    x = noise
    for k in range(steps):
        x = advance(field, x, times[k].expand(noise.shape[0]), size)
    return x


def _euler(field: VelocityField, x: Tensor, t: Tensor, size: float) -> Tensor:
    return x + size * field(x, t)


def _midpoint(field: VelocityField, x: Tensor, t: Tensor, size: float) -> Tensor:
    middle = x + size / 2 * field(x, t)
    return x + size * field(middle, t + size / 2)


def _heun(field: VelocityField, x: Tensor, t: Tensor, size: float) -> Tensor:
    slope = field(x, t)
    return x + size / 2 * (slope + field(x + size * slope, t + size))


def _rk4(field: VelocityField, x: Tensor, t: Tensor, size: float) -> Tensor:
    first = field(x, t)
    second = field(x + size / 2 * first, t + size / 2)
    third = field(x + size / 2 * second, t + size / 2)
    fourth = field(x + size * third, t + size)
    return x + size / 6 * (first + 2 * second + 2 * third + fourth)


_STEPS: dict[str, Callable[[VelocityField, Tensor, Tensor, float], Tensor]] = {
    "euler": _euler,
    "midpoint": _midpoint,
    "heun": _heun,
    "rk4": _rk4,
}


def _per_sample(t: Tensor, like: Tensor) -> Tensor:
    return t.reshape(-1, *([1] * (like.ndim - 1))).to(like.dtype)
