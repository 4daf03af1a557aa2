"""From gradients to weights: the loss scale of fp16, norms, clipping, the optimizers' step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from trainer_core.ranks import LocalRanks
from trainer_core.shards import own_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from trainer_core.ranks import Ranks

__all__ = ["Buffers", "Clipping", "LossScale", "Outcome", "Update", "clip_by_global_norm"]

_TINY = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, slots=True)
class Clipping:
    """How large a gradient may be.

    Attributes:
        norm: Largest L2 norm; a mapping has one for each of some components. None: any.
        value: Largest absolute value of each entry, applied after the norm. None: any.
        scope: Whether a single `norm` is for all components together or for each of them.
    """

    norm: float | Mapping[str, float] | None = None
    value: float | None = None
    scope: Literal["global", "component"] = "global"

    @property
    def is_global(self) -> bool:
        """Whether one norm of all components is clipped."""
        return self.scope == "global" and not isinstance(self.norm, Mapping)

    def limit(self, component: str) -> float | None:
        """Return the largest norm of a component's gradient."""
        return self.norm.get(component) if isinstance(self.norm, Mapping) else self.norm


@dataclass(slots=True)
class LossScale:
    """The factor that keeps small gradients of fp16 from becoming zero.

    It is halved when a gradient overflows, and doubled after many steps without that: the rule
    and the defaults of `torch.amp.GradScaler`. All values are powers of two, so scaling is exact.

    Attributes:
        value: What losses are multiplied with.
        good_steps: Steps since the last change.
    """

    value: float = 65536.0
    good_steps: int = 0
    growth_interval: int = field(default=2000, repr=False)

    SMALLEST = 1e-4
    """Below it no scale helps: the gradient is not finite for another reason."""

    def update(self, *, overflowed: bool) -> None:
        """Take notice of a step."""
        if overflowed:
            self.value, self.good_steps = self.value / 2, 0
            return
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.value, self.good_steps = self.value * 2, 0

    def state_dict(self) -> dict[str, float]:
        """Return what going on from here needs."""
        return {"value": self.value, "good_steps": self.good_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.value, self.good_steps = float(state["value"]), int(state["good_steps"])


class Outcome(Enum):
    """What became of a step."""

    APPLIED = auto()
    """The optimizers stepped."""
    OVERFLOWED = auto()
    """The loss scale of fp16 was too large; it is lower now, and the weights are as before."""
    NONFINITE = auto()
    """The loss or the gradient is not finite; the weights are as before."""


class Update:
    """Does all that follows the backward pass of a step.

    Args:
        models: The components by name, unwrapped.
        optimizers: The optimizers by name.
        clipping: How large the gradient may be.
        scale: The loss scale of fp16, or None.
        checks: Look at every step whether loss and gradient are finite. That waits for the
            device; without it, only the log line shows it.
        ranks: The processes that share the step; None: this one alone.
    """

    def __init__(
        self,
        models: nn.ModuleDict,
        optimizers: Mapping[str, torch.optim.Optimizer],
        clipping: Clipping,
        scale: LossScale | None = None,
        *,
        checks: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = LocalRanks() if ranks is None else ranks
        self._is_sharded = self.ranks.is_sharded
        self.clipping = clipping
        self.scale = scale
        self.checks = checks or scale is not None
        self._steps = tuple(optimizer.step for optimizer in optimizers.values())
        self._components = _by_component(models, optimizers)
        self.parameters = tuple(p for _, own in self._components for p in own)
        """Every parameter of the optimizers, once."""

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        for parameter in self.parameters:
            parameter.grad = None

    def apply(self, metrics: dict[str, Any]) -> Outcome:
        """Clip the gradients and step the optimizers; the norms are added to the metrics.

        `grad_norm` is the norm before clipping, `grad_norm/<component>` a component's where there
        are several.
        """
        scale = 1.0 if self.scale is None else self.scale.value
        gradients = [[p.grad for p in own if p.grad is not None] for _, own in self._components]
        if self._is_sharded:
            gradients = [[own_part(gradient) for gradient in own] for own in gradients]
        total, parts = _norms(gradients, scale, self.ranks if self._is_sharded else None)
        metrics["grad_norm"] = total
        if len(parts) > 1:
            for (name, _), norm in zip(self._components, parts, strict=True):
                metrics[f"grad_norm/{name}"] = norm
        if self.checks:
            outcome = self._judge(metrics["loss"], total)
            if outcome is not Outcome.APPLIED:
                return outcome
        self._clip(gradients, total, parts, scale)
        for step in self._steps:
            step()
        return Outcome.APPLIED

    def _judge(self, loss: Tensor | float, norm: Tensor) -> Outcome:
        """Read both in one go; lower the loss scale if it was too large.

        Of several processes each has its own loss, and all have the same gradient.
        """
        shared = self.ranks.world_size > 1
        is_finite = math.isfinite(norm if shared else loss + norm)
        scale = self.scale
        if scale is not None:
            scale.update(overflowed=not is_finite)
            if not is_finite and scale.value >= scale.SMALLEST:
                is_loss = self.ranks.any(not math.isfinite(loss))
                return Outcome.NONFINITE if is_loss else Outcome.OVERFLOWED
        return Outcome.APPLIED if is_finite else Outcome.NONFINITE

    def _clip(
        self,
        gradients: Sequence[list[Tensor]],
        total: Tensor,
        parts: Sequence[Tensor],
        scale: float,
    ) -> None:
        """Scale each component's gradient by its own factor, or all by the same."""
        clipping = self.clipping
        everything = [gradient for own in gradients for gradient in own]
        if not everything:
            return
        if clipping.is_global:
            if clipping.norm is not None:
                _multiply(everything, total, clipping.limit(""), scale)
            elif scale != 1:
                torch._foreach_mul_(everything, 1 / scale)
        else:
            for (name, _), own, norm in zip(self._components, gradients, parts, strict=True):
                if own:
                    _multiply(own, norm, clipping.limit(name), scale)
        if clipping.value is not None:
            torch._foreach_clamp_max_(everything, clipping.value)
            torch._foreach_clamp_min_(everything, -clipping.value)


class Buffers:
    """Copies of the models' buffers, such as running means: a skipped step leaves none."""

    def __init__(self, models: nn.ModuleDict) -> None:
        self._buffers = list(models.buffers())
        self._copies = [buffer.clone() for buffer in self._buffers]

    def save(self) -> None:
        """Copy them."""
        if self._buffers:
            torch._foreach_copy_(self._copies, self._buffers)

    def restore(self) -> None:
        """Put the copies back."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._copies)


def clip_by_global_norm(parameters: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients so that their joint L2 norm is at most `max_norm`.

    Equals `torch.nn.utils.clip_grad_norm_` in fewer calls and without waiting for the device.

    Returns:
        The norm before clipping, a scalar on the device.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm, _ = _norms([gradients], 1.0)
    if gradients:
        _multiply(gradients, norm, max_norm, 1.0)
    return norm


def _norms(
    gradients: Sequence[list[Tensor]], scale: float, ranks: Ranks | None = None
) -> tuple[Tensor, Sequence[Tensor]]:
    """Return the L2 norm of everything, and of each list, as scalars on the device.

    Args:
        gradients: Of each component.
        scale: The loss scale, which is taken out.
        ranks: Given where each of them has a part of every gradient.
    """
    everything = [gradient for own in gradients for gradient in own]
    if not everything:
        zero = torch.zeros(())
        return zero, [zero] * len(gradients)
    norms = torch.stack(torch._foreach_norm(everything))  # noqa: SLF001 - as torch clips
    if scale != 1:
        norms /= scale
    if ranks is not None:
        norms = ranks.sum(norms.double().square()).sqrt().to(norms.dtype)
    total = torch.linalg.vector_norm(norms)
    if len(gradients) == 1:
        return total, [total]
    parts = torch.split(norms, [len(own) for own in gradients])
    return total, [torch.linalg.vector_norm(part) for part in parts]


def _multiply(gradients: list[Tensor], norm: Tensor, limit: float | None, scale: float) -> None:
    """Take the loss scale out of gradients and bring their norm down to a limit."""
    if limit is not None:
        factor: Tensor | float = (limit / (norm + _TINY)).clamp_(max=1.0)
        torch._foreach_mul_(gradients, factor if scale == 1 else factor / scale)
    elif scale != 1:
        torch._foreach_mul_(gradients, 1 / scale)


def _by_component(
    models: nn.ModuleDict, optimizers: Mapping[str, torch.optim.Optimizer]
) -> tuple[tuple[str, tuple[Tensor, ...]], ...]:
    """Return the optimizers' parameters, each once, by the component that they belong to."""
    owner = {id(p): name for name, module in models.items() for p in module.parameters()}
    found: dict[str, dict[int, Tensor]] = {}
    seen: set[int] = set()
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    name = owner.get(id(parameter), "")
                    found.setdefault(name, {})[id(parameter)] = parameter
    return tuple((name, tuple(own.values())) for name, own in found.items())
