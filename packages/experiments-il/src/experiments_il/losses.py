"""Losses over padded chunks: every one is a mean over the real elements.

Shapes: B batch, H chunk length, A action dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn

from experiments_il.optimal_transport import (
    Transport,
    assignment_cost,
    median,
    sinkhorn_divergence,
    squared_distances,
    temperature,
)
from experiments_il.sample_losses import means_of_samples
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from policy_constructor.ranges import Fraction, NonNegative, Positive, PositiveNumber

__all__ = ["L1", "L2", "L1Loss", "L2Loss", "SinkhornKnopp", "SinkhornKnoppLoss", "masked_mean"]

Backend: TypeAlias = Literal["auto", "sinkhorn", "exact"]
"""How a transport problem is solved."""

Scale: TypeAlias = Literal["normalised", "raw_half"]
"""What the cost of a pair is measured in."""

_EXACT_BELOW = 1e-3  # of the median cost: a plan this sharp is the assignment, which is faster


def masked_mean(error: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of `error` over real elements, a scalar.

    `sum(mask * error) / (A * max(1, sum(mask)))`: with no real element the result is 0. A padded
    element reaches neither the value nor a gradient, whatever it holds, infinities included.

    Args:
        error: `(B, H, A)`.
        mask: `(B, H)` bool, True where real; None: all real.
    """
    if mask is None:
        return error.mean()
    weight = mask.unsqueeze(-1)
    total = torch.where(weight, error, 0).sum()
    return total / (error.shape[-1] * mask.sum().clamp(min=1))


class L2(nn.Module):
    """Mean squared error over the real elements of a chunk."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the scalar loss.

        Args:
            prediction: `(B, H, A)`, for example a velocity.
            target: Same shape.
            mask: `(B, H)` bool, True where real; None: all real.
        """
        if mask is None:
            return nn.functional.mse_loss(prediction, target)
        return masked_mean((prediction - known_target(prediction, target, mask)).square(), mask)

    def of_samples(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, `(B,)`; shapes as in `forward`."""
        difference = prediction - known_target(prediction, target, mask)
        return means_of_samples(difference.float().square(), mask)


class L1(nn.Module):
    """Mean absolute error over the real elements of a chunk."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the scalar loss; shapes as in `L2`."""
        if mask is None:
            return nn.functional.l1_loss(prediction, target)
        return masked_mean((prediction - known_target(prediction, target, mask)).abs(), mask)

    def of_samples(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, `(B,)`; shapes as in `L2`."""
        difference = prediction - known_target(prediction, target, mask)
        return means_of_samples(difference.float().abs(), mask)


def known_target(prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the target with the prediction's values where it is padded, cut from the graph.

    So nothing padded reaches a difference, a distance or a gradient.

    Args:
        prediction: `(B, H, A)`.
        target: Same shape.
        mask: `(B, H)` bool, True where real; None: all real.
    """
    if mask is None:
        return target
    return torch.where(mask.unsqueeze(-1), target, prediction.detach())


class L2Loss:
    """Factory of the masked mean squared error, `loss.l2`."""

    def build(self) -> nn.Module:
        """Return the loss module, called as `loss(prediction, target, mask)`."""
        return L2()


class L1Loss:
    """Factory of the masked mean absolute error, `loss.l1`.

    Its minimiser is the conditional median of the velocity, for which the argument that flow
    matching learns the marginal field does not hold: `l2` unless an experiment says otherwise.
    """

    def build(self) -> nn.Module:
        """Return the loss module, called as `loss(prediction, target, mask)`."""
        return L1()


class SinkhornKnopp(nn.Module):
    """Transport cost between predicted and demonstrated chunks (K-OT); see `SinkhornKnoppLoss`."""

    def __init__(
        self,
        group: int = 64,
        state_weight: float = 0.2,
        backend: Backend = "auto",
        scale: Scale = "normalised",
        relative_blur: float = 0.05,
        blur: float | None = None,
        scaling: float = 0.5,
        debias: bool = True,
    ) -> None:
        super().__init__()
        self.group = group
        self.state_weight = state_weight
        self.backend = backend
        self.scale = scale
        self.relative_blur = relative_blur
        self.blur = blur
        self.scaling = scaling
        self.debias = debias

    def forward(
        self,
        prediction: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        states: Tensor | None = None,
    ) -> Tensor:
        """Return the scalar loss.

        Args:
            prediction: `(B, H, A)`, for example one-step endpoints.
            target: Same shape; the demonstrated chunks.
            mask: `(B, H)` bool, True where real; padded actions cost nothing.
            states: `(B, ...)`, on both sides of the pairs: keeps the transport local.
        """
        return self.measure(prediction, target, mask, states).cost

    def measure(
        self,
        prediction: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        states: Tensor | None = None,
    ) -> Transport:
        """Return the mean cost and the mean identity share of the groups, scalars.

        The samples are grouped in their order; what remains at the end is a smaller group.
        """
        if mask is not None:
            own = mask.reshape(*mask.shape, *[1] * (prediction.ndim - mask.ndim))
            prediction = torch.where(own, prediction, target.detach())
        moved, goal = self._points(prediction, states), self._points(target, states)
        solved = [
            self._solve(*pair)
            for pair in zip(*(_in_groups(each, self.group) for each in (moved, goal)), strict=True)
        ]
        if len(solved) == 1:
            return Transport(*(each.mean() for each in solved[0]))
        rest = len(moved) % self.group / len(moved)
        whole, left = solved
        return Transport(
            *((1 - rest) * w.mean() + rest * s.mean() for w, s in zip(whole, left, strict=True))
        )

    def _points(self, chunk: Tensor, states: Tensor | None) -> Tensor:
        """Return the points `(B, D)` whose squared distance is the cost."""
        flat = chunk.flatten(1)
        extra = None if states is None else states.detach().flatten(1).to(flat.dtype)
        if self.scale == "raw_half":
            action_weight, weight = 0.5, self.state_weight / 2
        else:
            action_weight = 1 / flat.shape[1]
            weight = self.state_weight / (1 if extra is None else extra.shape[1])
        flat = flat * action_weight**0.5
        return flat if extra is None else torch.cat([flat, extra * weight**0.5], dim=1)

    def _solve(self, x: Tensor, y: Tensor) -> Transport:
        sharp = self._is_sharp(x, y)
        if sharp is None or not bool(sharp.any()):
            return self._sinkhorn(x, y) if self.backend != "exact" else assignment_cost(x, y)
        if bool(sharp.all()):
            return assignment_cost(x, y)
        exact, blurred = assignment_cost(x[sharp], y[sharp]), self._sinkhorn(x[~sharp], y[~sharp])
        return Transport(*(torch.cat(pair) for pair in zip(exact, blurred, strict=True)))

    def _is_sharp(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Return which groups `auto` solves exactly, `(G,)`; None where there is no choice."""
        if self.backend != "auto" or x.device.type != "cpu":
            return None
        if self.blur is None:
            return torch.full((x.shape[0],), self.relative_blur < _EXACT_BELOW)
        cost = squared_distances(x.detach().float(), y.detach().float())
        final = temperature(cost, relative_blur=self.relative_blur, blur=self.blur)
        return final < _EXACT_BELOW * median(cost)

    def _sinkhorn(self, x: Tensor, y: Tensor) -> Transport:
        return sinkhorn_divergence(
            x,
            y,
            relative_blur=self.relative_blur,
            blur=self.blur,
            scaling=self.scaling,
            debias=self.debias,
        )


def _in_groups(points: Tensor, size: int) -> list[Tensor]:
    """Return `(B, D)` as groups `(G, size, D)`, and what remains as one smaller group."""
    rest = len(points) % size
    if rest in {0, len(points)}:
        return [points.reshape(-1, rest or size, points.shape[1])]
    whole = points[:-rest].reshape(-1, size, points.shape[1])
    return [whole, points[-rest:].unsqueeze(0)]


class SinkhornKnoppLoss:
    """Factory of the optimal-transport loss between the chunks of a batch, `loss.sinkhorn_knopp`.

    The Sinkhorn divergence between the predicted and the demonstrated chunks of a group of
    samples, each paired with its state. It lets a prediction be near *some* demonstrated chunk of
    a like state, where a squared error asks for the mean of them all.

    Args:
        group: Samples of one transport problem, taken in their order. It must divide every
            micro-batch, so that the loss does not depend on processes or accumulation. More
            samples: a better estimate, quadratic cost.
        state_weight: Weight of the states in the cost. 0: chunks may go to any state; too large:
            each keeps to its own partner, and the loss is a squared error.
        backend: `sinkhorn`; `exact`, the assignment, which needs SciPy and copies the costs to the
            CPU; `auto`, exact on a CPU where the blur is below 1e-3 of the median cost.
        scale: `normalised`: means over the dimensions of the chunk and of the state; `raw_half`:
            half the sums, as in geomloss.
        relative_blur: Final temperature as a share of the median cost. Larger: smoother plans.
        blur: The same as a length, in the units of the cost's root; null: `relative_blur` decides.
        scaling: Annealing factor of the length scale, below 1. Larger: slower, more exact.
        debias: Subtract the self terms, so that equal batches cost nothing.

    Raises:
        UserError: A value is outside its range.
    """

    def __init__(
        self,
        group: Positive = 64,
        state_weight: NonNegative = 0.2,
        backend: Backend = "auto",
        scale: Scale = "normalised",
        relative_blur: PositiveNumber = 0.05,
        blur: PositiveNumber | None = None,
        scaling: Fraction = 0.5,
        debias: bool = True,
    ) -> None:
        for name, value in (("relative_blur", relative_blur), ("scaling", scaling), ("blur", blur)):
            if value is not None and value <= 0:
                message = f"{name} must be above 0, got {value:g}"
                raise UserError(message)
        self.loss = SinkhornKnopp(
            group, state_weight, backend, scale, relative_blur, blur, scaling, debias
        )

    def build(self) -> nn.Module:
        """Return the loss module, called as `loss(prediction, target, mask, states)`."""
        return self.loss
