"""Optimizers together with the schedules that belong to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.optim.lr_scheduler import LambdaLR

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from policy_constructor.ranges import Count, NonNegative, Positive, PositiveNumber
    from trainer_core.protocols import ParameterGroups

__all__ = ["AdamWWarmupCosineDecay", "warmup_cosine_lr"]


def warmup_cosine_lr(
    k: int, *, peak_lr: float, start_lr: float, end_lr: float, warmup_steps: int, total_steps: int
) -> float:
    """Return the learning rate of optimizer step `k`, counted from 0.

    A line from `start_lr` at 0 to `peak_lr` at `warmup_steps - 1`, then half a cosine from
    `peak_lr` at `warmup_steps` to `end_lr` at `total_steps - 1`, constant after that.
    """
    if k >= total_steps:
        return end_lr
    if k < warmup_steps:
        return start_lr + (peak_lr - start_lr) * k / max(1, warmup_steps - 1)
    progress = min(1.0, (k - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    return end_lr + (peak_lr - end_lr) * (1 + math.cos(math.pi * progress)) / 2


class AdamWWarmupCosineDecay:
    """AdamW whose learning rate warms up linearly and decays as half a cosine.

    The default optimizer of the flow-matching policies. Of several parameter groups, one may
    bring its own `peak_lr`; its start and end scale with it.

    Args:
        peak_lr: Highest learning rate. Too high: the loss stays noisy or diverges; too low: slow.
            3e-4 to 1e-3 for small MLPs, 1e-4 for transformers.
        betas: Decay of the first and second moment of the gradient.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay per step, times the learning rate.
        total_steps: Steps until `end_lr`; None: the length of the run.
        warmup_steps: Steps of the linear start, below `total_steps`. 0: none.
        start_lr: Learning rate of step 0 when there is a warm-up, at most `peak_lr`.
        end_lr: Learning rate of the last step and after, at most `peak_lr`.

    Raises:
        UserError: A value is outside the range given above.
    """

    def __init__(
        self,
        peak_lr: PositiveNumber = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        total_steps: Positive | None = None,
        warmup_steps: Count = 0,
        start_lr: NonNegative = 0.0,
        end_lr: NonNegative = 0.0,
    ) -> None:
        if peak_lr <= 0:
            message = f"peak_lr must be above 0, got {peak_lr:g}"
            raise UserError(message)
        for name, value in (("start_lr", start_lr), ("end_lr", end_lr)):
            if not 0 <= value <= peak_lr:
                message = f"{name} must be between 0 and peak_lr ({peak_lr:g}), got {value:g}"
                raise UserError(message)
        if total_steps is not None:
            _check_warmup(warmup_steps, total_steps)
        self.peak_lr = peak_lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.start_lr = start_lr
        self.end_lr = end_lr

    def build(self, params: ParameterGroups) -> torch.optim.Optimizer:
        """Return AdamW over the groups, at the peak learning rate."""
        groups = [
            {key: value for key, value in group.items() if key != "peak_lr"}
            | {"lr": group.get("peak_lr", self.peak_lr)}
            for group in params
        ]
        first, second = self.betas
        return torch.optim.AdamW(
            groups,
            lr=self.peak_lr,
            betas=(first, second),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )

    def schedule(self, optimizer: torch.optim.Optimizer, total_steps: int) -> LambdaLR:
        """Return the schedule, to be stepped after every optimizer step.

        Args:
            optimizer: What `build` returned.
            total_steps: Optimizer steps of the run, used unless the factory was given its own.

        Raises:
            UserError: The warm-up is not shorter than the run.
        """
        total = self.total_steps if self.total_steps is not None else total_steps
        _check_warmup(self.warmup_steps, total)

        def factor(k: int) -> float:
            rate = warmup_cosine_lr(
                k,
                peak_lr=self.peak_lr,
                start_lr=self.start_lr,
                end_lr=self.end_lr,
                warmup_steps=self.warmup_steps,
                total_steps=total,
            )
            return rate / self.peak_lr

        return LambdaLR(optimizer, factor)


def _check_warmup(warmup_steps: int, total_steps: int) -> None:
    if not 0 <= warmup_steps < total_steps:
        message = (
            f"warmup_steps must be at least 0 and below the number of steps ({total_steps}), "
            f"got {warmup_steps}"
        )
        raise UserError(message)
