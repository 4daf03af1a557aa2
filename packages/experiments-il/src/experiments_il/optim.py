"""Optimizers together with the schedules that belong to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.optim.lr_scheduler import LambdaLR

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from policy_constructor.ranges import (
        Count,
        NonNegative,
        Positive,
        PositiveNumber,
        Probability,
    )
    from trainer_core.protocols import ParameterGroups

__all__ = ["AdamWCosineSchedule", "AdamWWarmupCosineDecay", "one_cycle_lr", "warmup_cosine_lr"]


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
    return _half_cosine(peak_lr, end_lr, progress)


def one_cycle_lr(
    k: int,
    *,
    max_lr: float,
    total_steps: int,
    pct_start: float,
    div_factor: float,
    final_div_factor: float,
) -> float:
    """Return the learning rate of optimizer step `k`, counted from 0.

    Half a cosine from `max_lr / div_factor` up to `max_lr` at step `pct_start * total_steps - 1`,
    half a cosine down to `max_lr / div_factor / final_div_factor` at the last step, constant after.

    Source: torch's OneCycleLR with `anneal_strategy="cos"`, after Smith, arXiv:1708.07120.
    """
    first = max_lr / div_factor
    last = first / final_div_factor
    peak, end = pct_start * total_steps - 1, total_steps - 1
    k = min(k, end)
    if k <= peak:
        return _half_cosine(first, max_lr, k / peak if peak else 1.0)
    return _half_cosine(max_lr, last, (k - peak) / (end - peak))


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
        warmup_share: Largest share of the steps that the warm-up may take: a short run warms up for
            less. With 1 it is an error if the run is not longer than the warm-up.

    Raises:
        UserError: A value is outside the range given above.
    """

    parameter_check: ClassVar = "experiments_il.optim_check:check_warmup"

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
        warmup_share: Probability = 1.0,
    ) -> None:
        if peak_lr <= 0:
            message = f"peak_lr must be above 0, got {peak_lr:g}"
            raise UserError(message)
        for name, value in (("start_lr", start_lr), ("end_lr", end_lr)):
            if not 0 <= value <= peak_lr:
                message = f"{name} must be between 0 and peak_lr ({peak_lr:g}), got {value:g}"
                raise UserError(message)
        if not 0 <= warmup_share <= 1:
            message = f"warmup_share must be between 0 and 1, got {warmup_share:g}"
            raise UserError(message)
        self.warmup_share = warmup_share
        if total_steps is not None:
            _check_warmup(_warmup(warmup_steps, warmup_share, total_steps), total_steps)
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
        warmup_steps = _warmup(self.warmup_steps, self.warmup_share, total)
        _check_warmup(warmup_steps, total)

        def factor(k: int) -> float:
            rate = warmup_cosine_lr(
                k,
                peak_lr=self.peak_lr,
                start_lr=self.start_lr,
                end_lr=self.end_lr,
                warmup_steps=warmup_steps,
                total_steps=total,
            )
            return rate / self.peak_lr

        return LambdaLR(optimizer, factor)


class AdamWCosineSchedule:
    """AdamW with one cycle of the learning rate: up in the first part of the run, down in the rest.

    There is no separate learning rate: the cycle sets it from the first step on. After the last
    step it stays where it ended.

    Args:
        max_lr: Highest learning rate.
        betas: Decay of the first and second moment of the gradient; they do not cycle.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay per step, times the learning rate.
        total_steps: Steps of the cycle; None: the length of the run.
        pct_start: Share of the steps on which the rate rises.
        div_factor: `max_lr` over the first rate.
        final_div_factor: The first rate over the last.

    Raises:
        UserError: A value is outside its range.
    """

    def __init__(
        self,
        max_lr: PositiveNumber = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        total_steps: Positive | None = None,
        pct_start: Probability = 0.3,
        div_factor: PositiveNumber = 25.0,
        final_div_factor: PositiveNumber = 1e4,
    ) -> None:
        for name, value in (
            ("max_lr", max_lr),
            ("div_factor", div_factor),
            ("final_div_factor", final_div_factor),
        ):
            if value <= 0:
                message = f"{name} must be above 0, got {value:g}"
                raise UserError(message)
        if not 0 <= pct_start <= 1:
            message = f"pct_start must be between 0 and 1, got {pct_start:g}"
            raise UserError(message)
        self.max_lr = max_lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.total_steps = total_steps
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor

    def build(self, params: ParameterGroups) -> torch.optim.Optimizer:
        """Return AdamW over the groups, at the highest learning rate."""
        first, second = self.betas
        return torch.optim.AdamW(
            params,
            lr=self.max_lr,
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
        """
        total = self.total_steps if self.total_steps is not None else total_steps

        def factor(k: int) -> float:
            return one_cycle_lr(
                k,
                max_lr=1.0,
                total_steps=total,
                pct_start=self.pct_start,
                div_factor=self.div_factor,
                final_div_factor=self.final_div_factor,
            )

        return LambdaLR(optimizer, factor)


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _warmup(warmup_steps: int, share: float, total_steps: int) -> int:
    """Return the steps of the warm-up in a run of some length."""
    return warmup_steps if share == 1 else min(warmup_steps, int(share * total_steps + 1e-9))


def _check_warmup(warmup_steps: int, total_steps: int) -> None:
    if not 0 <= warmup_steps < total_steps:
        message = (
            f"warmup_steps must be at least 0 and below the number of steps ({total_steps}), "
            f"got {warmup_steps}"
        )
        raise UserError(message)
