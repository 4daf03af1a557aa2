"""Averaged weights, used wherever the policy is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainer_core.errors import CheckpointError
from trainer_core.hookspecs import hookimpl
from trainer_core.shards import own_part, part_like

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from policy_constructor.ranges import Count, Fraction, Positive, PositiveNumber
    from trainer_core.engine.state import RunState

__all__ = ["EMA"]


class EMA:
    """Keeps an exponential moving average of the trained components.

    After every optimizer step, `average = D average + (1 - D) weights`; with warm-up,
    `D = min(decay, 1 - (1 + k)^-power)` at update k, so that the first weights are soon forgotten.
    Floating buffers are averaged too, other buffers copied. Validation and evaluation see the
    averages; the training weights come back afterwards, bit for bit. Checkpoints hold the
    averages as `ema.<name>.safetensors`.

    Args:
        decay: Largest D. Nearer to 1: smoother, and slower to follow; 0.999 to 0.9999 usually.
        warmup: Whether D grows from 0.
        power: How fast it grows; 0.75 suits long runs, 2/3 very long ones.
        update_after_step: Steps at whose end the averages are the weights themselves; the
            averaging, and its warm-up, begin after them.
        every: Steps between two updates. With more than 1 the averages follow more slowly: choose
            `decay` to the power of it.

    Raises:
        ValueError: The decay is not between 0 and 1, or a number of steps is out of its range.

    Source: the warm-up is diffusion_policy's EMAModel (Chi et al., 2023).
    """

    def __init__(
        self,
        decay: Fraction = 0.9999,
        warmup: bool = True,
        power: PositiveNumber = 0.75,
        update_after_step: Count = 0,
        every: Positive = 1,
    ) -> None:
        if not 0 <= decay < 1:
            msg = f"decay must be at least 0 and below 1, got {decay}"
            raise ValueError(msg)
        if update_after_step < 0 or every < 1:
            msg = "update_after_step must be at least 0 and every at least 1"
            raise ValueError(msg)
        self.update_after_step = update_after_step
        self.every = every
        self.decay = decay
        self.warmup = warmup
        self.power = power
        self.updates = 0
        self.averages: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        self._floating: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._copied: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._kept: list[Tensor] | None = None

    @hookimpl
    def trainer_fit_start(self, state: RunState) -> None:
        """Begin with the weights as they are, unless a checkpoint brought averages."""
        self._weights = _trained_tensors(state)
        if not self.averages:
            self.averages = {name: w.detach().clone() for name, w in self._weights.items()}
        self._pair_up()
        state.sharded.append(self._all_averages)
        state.averages.append(lambda: self.averages)

    def _pair_up(self) -> None:
        """Put the averages beside the weights that they follow."""
        names = list(self._weights)
        floating = [name for name in names if self._weights[name].is_floating_point()]
        others = [name for name in names if not self._weights[name].is_floating_point()]
        self._floating = self._pairs(floating)
        self._copied = self._pairs(others)

    @hookimpl
    @torch.no_grad()
    def trainer_step_end(self, state: RunState) -> None:
        """Move the averages towards the weights, unless the step left them as they were."""
        if getattr(state.trainer, "is_skipped", False):
            return
        if state.step <= self.update_after_step:
            _copy_into(self.averages.values(), self._weights.values())
            return
        if state.step % self.every:
            return
        k = self.updates = self.updates + 1
        decay = min(self.decay, 1 - (1 + k) ** -self.power) if self.warmup else self.decay
        averages, weights = self._floating
        if averages:
            torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, weight in zip(*self._copied, strict=True):
            average.copy_(weight)

    @hookimpl
    def trainer_evaluation_start(self, state: RunState) -> None:  # noqa: ARG002 - the hook's
        """Put the averages into the models."""
        if self._kept is None:
            self._kept = [weight.detach().clone() for weight in self._weights.values()]
            _copy_into(self._weights.values(), self.averages.values())

    @hookimpl
    def trainer_evaluation_end(self, state: RunState) -> None:  # noqa: ARG002 - the hook's
        """Put the training weights back."""
        if self._kept is not None:
            _copy_into(self._weights.values(), self._kept)
            self._kept = None

    @hookimpl
    def trainer_checkpoint_save(self, state: RunState, payload: dict[str, Any]) -> None:
        """Add a file of averages per component."""
        payload["ema"] = {"version": 1, "updates": self.updates}
        for component in state.models:
            prefix = f"{component}/"
            part = {
                name.removeprefix(prefix): tensor
                for name, tensor in self.averages.items()
                if name.startswith(prefix)
            }
            if part:
                state.add_to_checkpoint(f"ema.{component}.safetensors", part)

    @hookimpl
    def trainer_checkpoint_load(
        self, state: RunState, payload: Mapping[str, Any], path: Path
    ) -> None:
        """Take the averages back; a checkpoint without any leaves them to start anew."""
        if "ema" not in payload:
            return
        averages: dict[str, Tensor] = {}
        for component in state.models:
            file = path / f"ema.{component}.safetensors"
            if file.is_file():
                stored = load_file(file)
                averages |= {f"{component}/{name}": tensor for name, tensor in stored.items()}
        weights = _trained_tensors(state)
        if averages.keys() != weights.keys():
            differing = sorted(averages.keys() ^ weights.keys())
            msg = f"the averages in {path} do not fit the model: {', '.join(differing[:5])}"
            raise CheckpointError(msg)
        self.updates = int(payload["ema"]["updates"])
        self.averages = {
            name: part_like(averages[name].to(weight.device), weight)
            for name, weight in weights.items()
        }
        if self._weights:  # the run goes back to a checkpoint of its own
            self._pair_up()

    def _all_averages(self) -> Iterable[Tensor]:
        return self.averages.values()

    def _pairs(self, names: list[str]) -> tuple[list[Tensor], list[Tensor]]:
        weights = [own_part(self._weights[name]) for name in names]
        return [own_part(self.averages[name]) for name in names], weights


def _trained_tensors(state: RunState) -> dict[str, Tensor]:
    """Return the parameters and buffers of components that an optimizer has, each tensor once."""
    trained = {
        id(parameter)
        for optimizer in state.optimizers.values()
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    found: dict[str, Tensor] = {}
    for component, module in state.models.items():
        if any(id(parameter) in trained for parameter in module.parameters()):
            tensors = [*module.named_parameters(), *module.named_buffers()]
            found |= {f"{component}/{name}": tensor for name, tensor in tensors}
    return found


@torch.no_grad()
def _copy_into(targets: Any, sources: Any) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
