"""Optimal transport between two point clouds of equal size: Sinkhorn divergence and assignment.

Shapes: G groups (independent problems of one call), n points, D dimensions. The cost is
`|x_i - y_j|^2`; scale the points for any other weighting. Both clouds weigh their points equally.

Source: Feydy et al., "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences",
arXiv:1810.08278; the averaged updates are those of its section 3.2.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

__all__ = [
    "Transport",
    "annealing",
    "assignment_cost",
    "sinkhorn_divergence",
    "squared_distances",
]

_RELATIVE_RATIO = 4.0**7  # a largest cost above that would begin at a lower temperature
_ABSOLUTE_RATIO = 4.0**16


class Transport(NamedTuple):
    """What it costs to move one cloud onto the other.

    Attributes:
        cost: `(G,)`, differentiable with respect to the points.
        identity: `(G,)`, the share of its mass that a point sends to its own partner, averaged:
            1 says that the plan is the identity and the loss a mere squared error.
    """

    cost: Tensor
    identity: Tensor


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return `|x_i - y_j|^2`, `(G, n, m)`, never negative.

    Args:
        x: `(G, n, D)`.
        y: `(G, m, D)`.
    """
    square_x = x.square().sum(-1)
    square_y = y.square().sum(-1)
    product = torch.bmm(x, y.transpose(1, 2))
    return (square_x.unsqueeze(2) + square_y.unsqueeze(1) - 2 * product).clamp(min=0)


def annealing(cost: Tensor, epsilon: Tensor, *, scaling: float, ratio: float) -> list[Tensor]:
    """Return the temperatures of the iterations, `(G, 1)` each: down to `epsilon`, then twice it.

    Step k before the end is `epsilon / scaling^(2k)`, at most the largest cost of the group. The
    number of iterations depends on no cost, so a device is never waited for.

    Args:
        cost: `(G, n, n)`.
        epsilon: Final temperature `(G,)`.
        scaling: Ratio of the length scales of two steps; nearer to 1 is slower and more exact.
        ratio: Of the first temperature to the last.
    """
    start = torch.maximum(cost.detach().amax(dim=(1, 2)), epsilon)
    steps = math.ceil(-0.5 * math.log(ratio) / math.log(scaling))
    factors = [scaling ** (-2 * k) for k in range(steps, -1, -1)]
    falling = [torch.minimum(start, epsilon * factor) for factor in factors]
    return [each.unsqueeze(-1) for each in [*falling, epsilon, epsilon]]


def sinkhorn_divergence(
    x: Tensor,
    y: Tensor,
    *,
    epsilons: Sequence[Tensor | float] | None = None,
    relative_blur: float = 0.05,
    blur: float | None = None,
    scaling: float = 0.5,
    debias: bool = True,
) -> Transport:
    """Return the Sinkhorn divergence `OT(x, y) - OT(x, x) / 2 - OT(y, y) / 2` of each group.

    The dual potentials are found in the log domain, in float32 at least and without a gradient;
    the gradient is that of the envelope theorem, `sum_j P_ij dC_ij`, with the final plan P.

    Args:
        x: `(G, n, D)`.
        y: `(G, n, D)`.
        epsilons: Temperatures of the iterations, floats or `(G, 1)`; None: `annealing`.
        relative_blur: Final temperature as a share of the group's median cost.
        blur: Final temperature's root, in the units of the points; None: `relative_blur` decides.
        scaling: Annealing factor of the length scale.
        debias: Subtract the self terms, so that equal clouds cost nothing.
    """
    with _full_precision(x):
        x, y = _at_least_float32(x), _at_least_float32(y)
        centre = y.detach().mean(dim=1, keepdim=True)  # distances of far clouds would cancel
        x, y = x - centre, y - centre
        cost = squared_distances(x, y)
        if epsilons is None:
            epsilon = temperature(cost, relative_blur=relative_blur, blur=blur)
            ratio = _RELATIVE_RATIO if blur is None else _ABSOLUTE_RATIO
            epsilons = annealing(cost, epsilon, scaling=scaling, ratio=ratio)
        costs = [cost, cost.transpose(1, 2)]
        if debias:
            costs += [squared_distances(x, x), squared_distances(y, y)]
        potentials, before = _potentials(torch.stack([c.detach() for c in costs]), epsilons)
        last = _column(epsilons[-1])
        plans = [_plan(costs[0], before[0], last)]
        values = [potentials[0] + potentials[1]]
        if debias:
            plans += [_plan(costs[i], before[i], last) for i in (2, 3)]
            values += [2 * potentials[2], 2 * potentials[3]]
        moved = [plans[0] * costs[0]]
        if debias:
            moved += [plans[1] * costs[2], plans[2] * costs[3]]
        total = torch.zeros_like(values[0].mean(-1))
        for weight, value, move in zip((1.0, -0.5, -0.5), values, moved, strict=False):
            envelope = move.sum(dim=(1, 2))
            total = total + weight * (value.mean(-1) + envelope - envelope.detach())
        return Transport(total, plans[0].diagonal(dim1=1, dim2=2).sum(-1))


def assignment_cost(x: Tensor, y: Tensor) -> Transport:
    """Return the cost of the best one-to-one assignment of each group, the limit of no blur.

    Needs SciPy, and one copy of the costs to the CPU.

    Args:
        x: `(G, n, D)`.
        y: `(G, n, D)`.

    Raises:
        UserError: SciPy is not installed.
    """
    with _full_precision(x):
        x, y = _at_least_float32(x), _at_least_float32(y)
        partner = _assign(_negative_products(x.detach(), y.detach()))
        group = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
        moved = mse_loss(x, y[group, partner], reduction="none").sum(dim=(1, 2)) / x.shape[1]
        own = torch.arange(x.shape[1], device=x.device)
        return Transport(moved, (partner == own).to(moved.dtype).mean(-1))


def _negative_products(x: Tensor, y: Tensor) -> Tensor:
    """Return `-x_i . y_j` of centred clouds, `(G, n, n)`: half the costs, for an assignment.

    What is left out of `|x_i - y_j|^2` is one number for each row and one for each column, which
    every assignment pays alike.
    """
    centre = y.mean(dim=1, keepdim=True)  # or the products of far clouds would drown in rounding
    return torch.bmm(x - centre, (centre - y).transpose(1, 2))


def temperature(cost: Tensor, *, relative_blur: float, blur: float | None) -> Tensor:
    """Return the final temperature `(G,)` of costs `(G, n, n)`; above 0 even if all are 0."""
    if blur is not None:
        return cost.new_full((cost.shape[0],), blur * blur)
    return median(cost).mul(relative_blur).clamp(min=1e-12)


def median(cost: Tensor) -> Tensor:
    """Return the median cost of each group, `(G,)`."""
    return cost.detach().flatten(1).median(dim=1).values


def _potentials(cost: Tensor, epsilons: Sequence[Tensor | float]) -> tuple[Tensor, Tensor]:
    """Return the potentials `(K, G, n)` after a last full step, and what that step started from.

    The problems on the first axis are x to y, y to x, and with debiasing x to x, y to y.
    """
    partner = [1, 0, 2, 3][: cost.shape[0]]
    potentials = _softmin(cost, torch.zeros_like(cost[..., 0]), _column(epsilons[0]))
    for epsilon in epsilons:
        step = _softmin(cost, potentials[partner], _column(epsilon))
        potentials = (potentials + step) / 2
    before = potentials[partner]
    return _softmin(cost, before, _column(epsilons[-1])), before


def _softmin(cost: Tensor, potential: Tensor, epsilon: Tensor | float) -> Tensor:
    """Return `-eps log mean_j exp((potential_j - cost_ij) / eps)`, `(K, G, n)`."""
    inner = epsilon if isinstance(epsilon, float) else epsilon.unsqueeze(-1)
    scores = (potential.unsqueeze(-2) - cost) / inner
    return -epsilon * (torch.logsumexp(scores, dim=-1) - math.log(cost.shape[-1]))


def _plan(cost: Tensor, potential: Tensor, epsilon: Tensor | float) -> Tensor:
    """Return the plan `(G, n, n)` of the last step; each row sums to 1/n."""
    inner = epsilon if isinstance(epsilon, float) else epsilon.unsqueeze(-1)
    scores = (potential.unsqueeze(1) - cost.detach()) / inner
    return torch.softmax(scores, dim=-1) / cost.shape[1]


def _column(epsilon: Tensor | float) -> Tensor | float:
    return epsilon if isinstance(epsilon, Tensor) else float(epsilon)


def _assign(cost: Tensor) -> Tensor:
    """Return each point's partner, int64 `(G, n)`."""
    if cost.is_meta:
        return torch.zeros(cost.shape[:2], dtype=torch.int64, device=cost.device)
    try:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - optional package
    except ImportError as error:
        message = "the exact assignment needs SciPy: pip install 'experiments-il[transport]'"
        raise UserError(message) from error
    found = [torch.from_numpy(linear_sum_assignment(each)[1]) for each in cost.cpu().numpy()]
    return torch.stack(found).to(cost.device)


def _at_least_float32(points: Tensor) -> Tensor:
    return points if points.dtype == torch.float64 else points.float()


def _full_precision(points: Tensor) -> AbstractContextManager[object]:
    """Return a context in which autocast is off: half precision moves the value by 2e-4."""
    kind = points.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)
