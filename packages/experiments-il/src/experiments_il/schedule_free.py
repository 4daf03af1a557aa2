"""RAdam without a learning-rate schedule: the averaged weights take the part of its decay.

Source: Defazio et al., "The Road Less Scheduled", arXiv:2405.15682, algorithm 1, with the
rectification of Liu et al., "On the Variance of the Adaptive Learning Rate", arXiv:1908.03265.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from policy_constructor.ranges import NonNegative, PositiveNumber
    from trainer_core.protocols import ParameterGroups

__all__ = ["RAdamScheduleFree", "ScheduleFreeRAdam"]


class RAdamScheduleFree(torch.optim.Optimizer):
    """The optimizer; see `ScheduleFreeRAdam`.

    Three points per parameter: z moves by rectified Adam steps, x averages it, and gradients are
    taken at `y = (1 - beta1) z + beta1 x`. The parameters hold y while training and x between
    `eval()` and `train()`. It begins in training mode.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "r": r,
            "weight_lr_power": weight_lr_power,
            "k": 0,
            "weight_sum": 0.0,
            "lr_max": 0.0,
        }
        super().__init__(params, defaults)
        self._training_weights: dict[Tensor, Tensor] | None = None

    @torch.no_grad()
    def eval(self) -> None:
        """Put the averaged weights x into the parameters."""
        if self._training_weights is not None:
            return
        self._training_weights = {}
        for parameter in self._moved():
            self._training_weights[parameter] = parameter.detach().clone()
        self.average_copies({parameter: parameter for parameter in self._training_weights})

    @torch.no_grad()
    def average_copies(self, copies: Mapping[Tensor, Tensor]) -> None:
        """Turn copies of the training weights into averages in place: what `eval()` would show.

        Args:
            copies: Parameter to its copy, on the same device; others than ours are left alone.
        """
        for parameter, beta1 in self._moved().items():
            if parameter in copies:
                copies[parameter].lerp_(self.state[parameter]["z"], 1 - 1 / beta1)

    @torch.no_grad()
    def train(self) -> None:
        """Put the training weights y back, bit for bit."""
        if self._training_weights is None:
            return
        for parameter, weight in self._training_weights.items():
            parameter.copy_(weight)
        self._training_weights = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override] # torch overloads it
        """Do one step; the gradients are left as they are.

        Args:
            closure: Computes the loss and its gradients anew; None: they are there.

        Raises:
            UserError: `eval()` was called and `train()` was not.
        """
        if self._training_weights is not None:
            message = "the parameters hold the averaged weights: call train() before step()"
            raise UserError(message)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _moved(self) -> dict[Tensor, float]:
        """Return the parameters that have moved, each with its weight of the average."""
        return {
            parameter: group["betas"][0]
            for group in self.param_groups
            for parameter in group["params"]
            if "z" in self.state.get(parameter, ())
        }

    def _step_group(self, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        k = group["k"] = group["k"] + 1
        correction = 1 - beta2**k
        rate = group["lr"] * _rectification(k, beta2)
        group["lr_max"] = max(rate, group["lr_max"])
        weight = k ** group["r"] * group["lr_max"] ** group["weight_lr_power"]
        group["weight_sum"] += weight
        share = weight / group["weight_sum"] if group["weight_sum"] else 0.0
        y, gradients, squares, z = self._collect(group)
        if not y:
            return
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        if not rate:
            return
        scale = torch._foreach_div(squares, correction)  # noqa: SLF001
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, group["eps"])
        direction = torch._foreach_div(gradients, scale)  # noqa: SLF001
        if group["weight_decay"]:
            torch._foreach_add_(direction, y, alpha=group["weight_decay"])
        torch._foreach_lerp_(y, z, weight=share)
        torch._foreach_add_(y, direction, alpha=rate * (beta1 * (1 - share) - 1))
        torch._foreach_sub_(z, direction, alpha=rate)

    def _collect(
        self, group: dict[str, Any]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return the parameters with a gradient, their gradients and their state."""
        y = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in y:
            if "z" not in self.state[parameter]:
                self.state[parameter]["z"] = parameter.detach().clone()
                self.state[parameter]["exp_avg_sq"] = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in y]
        squares = [self.state[parameter]["exp_avg_sq"] for parameter in y]
        return y, gradients, squares, [self.state[parameter]["z"] for parameter in y]


class ScheduleFreeRAdam:
    """RAdam that needs neither a schedule nor its length: evaluate at any time.

    Validation, evaluation and whatever samples between them see averaged weights; training goes on
    from its own, bit for bit. The first steps only gather statistics: with the usual `betas` the
    parameters move from the fifth step on. Do not combine it with `cb.ema` or a schedule.

    Args:
        lr: Learning rate, constant. 1e-4 to 3e-3; larger than that of a decaying schedule.
        betas: Weight of the average where gradients are taken, above 0; decay of the second moment.
        eps: Added to the root of the second moment.
        weight_decay: L2 penalty, added to the normalised gradient.
        r: Power of the step in the average's weights; 0: steps count equally.
        weight_lr_power: Power of the learning rate in them; 2 gives the warm-up little weight.

    Raises:
        UserError: A value is outside its range.
    """

    def __init__(
        self,
        lr: PositiveNumber = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        r: NonNegative = 0.0,
        weight_lr_power: NonNegative = 2.0,
    ) -> None:
        if lr <= 0:
            message = f"lr must be above 0, got {lr:g}"
            raise UserError(message)
        if not (0 < betas[0] < 1 and 0 < betas[1] < 1):
            message = f"betas must lie between 0 and 1, got {betas[0]:g}, {betas[1]:g}"
            raise UserError(message)
        self.lr = lr
        self.options: dict[str, Any] = {
            "betas": (betas[0], betas[1]),
            "eps": eps,
            "weight_decay": weight_decay,
            "r": r,
            "weight_lr_power": weight_lr_power,
        }

    def build(self, params: ParameterGroups) -> torch.optim.Optimizer:
        """Return the optimizer over the groups, in training mode."""
        return RAdamScheduleFree(params, lr=self.lr, **self.options)


def _rectification(k: int, beta2: float) -> float:
    """Return what the variance of step k allows of the learning rate; 0 while it is unknown."""
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * k * beta2**k / (1 - beta2**k)
    if length <= 4:
        return 0.0
    numerator = (length - 4) * (length - 2) * longest
    return float((numerator / ((longest - 4) * (longest - 2) * length)) ** 0.5)
