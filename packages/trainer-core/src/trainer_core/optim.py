"""Optimizers and learning-rate schedules of torch, and how the engine steps them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.optim import lr_scheduler

from policy_constructor.errors import ConfigError, Problem
from policy_constructor.spelling import nearest
from trainer_core.instantiate import call_checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trainer_core.protocols import ParameterGroups

__all__ = [
    "ClassOptimizerFactory",
    "ClassSchedulerFactory",
    "ScheduleHandle",
    "SequentialSchedulerFactory",
    "TorchOptimizerFactory",
    "TorchSchedulerFactory",
]

Interval = Literal["step", "epoch", "metric"]
_LENGTH_PARAMETERS = ("T_max", "total_steps")
_PART_KEYS = ("type", "steps", "kwargs")


class ClassOptimizerFactory:
    """An optimizer class with its arguments: what `optimizer: {_type_: optim_cls.AdamW}` means.

    Args:
        optimizer_class: Called as `optimizer_class(groups, **kwargs)`.
        owner: What messages call it.
        kwargs: Arguments but the parameters.
    """

    def __init__(
        self, optimizer_class: Callable[..., Any], owner: str, kwargs: Mapping[str, Any]
    ) -> None:
        self.optimizer_class = optimizer_class
        self.owner = owner
        self.kwargs = dict(kwargs)

    def build(self, params: ParameterGroups) -> torch.optim.Optimizer:
        """Return the optimizer over the groups."""
        optimizer: torch.optim.Optimizer = call_checked(
            self.optimizer_class, self.owner, params, **self.kwargs
        )
        return optimizer


class TorchOptimizerFactory(ClassOptimizerFactory):
    """Any optimizer of `torch.optim`, by name.

    Args:
        type: `AdamW` or `optim_cls.AdamW`.
        kwargs: Its arguments but the parameters, such as `{lr: 1e-3}`.

    Raises:
        ConfigError: `torch.optim` has no such optimizer.
    """

    def __init__(self, type: str, kwargs: Mapping[str, Any] | None = None) -> None:  # noqa: A002 - a key of the file
        found = _find_class(type, "optim_cls", torch.optim, torch.optim.Optimizer)
        super().__init__(found, type, kwargs or {})


class ClassSchedulerFactory:
    """A schedule class with its arguments.

    Arguments that are the run's length (`T_max`, `total_steps`) may be left out.

    Args:
        scheduler_class: Called as `scheduler_class(optimizer, **kwargs)`.
        owner: What messages call it.
        kwargs: Arguments but the optimizer.
        interval: When the engine steps it.
        monitor: The metric it watches; only for the interval `metric`.

    Raises:
        ConfigError: Interval, monitor and class do not fit one another.
    """

    def __init__(
        self,
        scheduler_class: Callable[..., Any],
        owner: str,
        kwargs: Mapping[str, Any],
        interval: Interval = "step",
        monitor: str | None = None,
    ) -> None:
        watches = scheduler_class is lr_scheduler.ReduceLROnPlateau
        if watches and interval != "metric":
            message = f"{owner} needs 'interval: metric' and a 'monitor'"
            raise ConfigError(Problem(message, path="scheduler.interval"))
        if (interval == "metric") != (monitor is not None):
            message = (
                "'interval: metric' needs 'monitor', the name of a metric"
                if monitor is None
                else f"'monitor' is used with 'interval: metric', not {interval!r}"
            )
            raise ConfigError(Problem(message, path="scheduler.monitor"))
        self.scheduler_class = scheduler_class
        self.owner = owner
        self.kwargs = dict(kwargs)
        self.interval = interval
        self.monitor = monitor

    def build(self, optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        """Return the schedule.

        Args:
            optimizer: The optimizer whose learning rates it sets.
            total_steps: Optimizer steps of the run.
        """
        known = inspect.signature(self.scheduler_class).parameters
        lengths = {
            name: total_steps
            for name in _LENGTH_PARAMETERS
            if name in known and name not in self.kwargs and self.interval == "step"
        }
        return call_checked(
            self.scheduler_class, self.owner, optimizer, **{**lengths, **self.kwargs}
        )


class TorchSchedulerFactory(ClassSchedulerFactory):
    """Any schedule of `torch.optim.lr_scheduler`, by name.

    Args:
        type: `CosineAnnealingLR` or `sched_cls.CosineAnnealingLR`.
        kwargs: Its arguments but the optimizer; `T_max` and `total_steps` default to the run's.
        interval: Step it after every optimizer step, at the end of every epoch, or after every
            measurement of `monitor`.
        monitor: The metric that `interval: metric` watches, such as `val/loss`.

    Raises:
        ConfigError: torch has no such schedule, or the arguments do not fit one another.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - a key of the file
        kwargs: Mapping[str, Any] | None = None,
        interval: Interval = "step",
        monitor: str | None = None,
    ) -> None:
        found = _find_class(type, "sched_cls", lr_scheduler, lr_scheduler.LRScheduler)
        super().__init__(found, type, kwargs or {}, interval, monitor)


class SequentialSchedulerFactory:
    """Schedules of torch one after the other, such as a warm-up and a decay.

        parts:
          - {type: LinearLR, steps: 500, kwargs: {start_factor: 0.01}}
          - {type: CosineAnnealingLR}

    A part's length is known to it: `total_iters`, `T_max` and `total_steps` need not be given.

    Args:
        parts: For each part its `type` as in `torch`, the `steps` that it lasts, and its `kwargs`.
            The last one may leave `steps` out: it has the rest of the run.

    Raises:
        ConfigError: torch has no such schedule, or a part has no steps or an unknown key.
    """

    interval: Interval = "step"

    def __init__(self, parts: Sequence[Mapping[str, Any]]) -> None:
        if not isinstance(parts, list | tuple) or not parts:
            message = "'parts' is a list of at least one part, such as {type: LinearLR, steps: 500}"
            raise ConfigError(Problem(message, path="parts"))
        self.steps: list[int | None] = []
        self.factories: list[ClassSchedulerFactory] = []
        for number, part in enumerate(parts):
            _require_part(part, number, is_last=number == len(parts) - 1)
            name, kwargs = str(part["type"]), part.get("kwargs") or {}
            found = _find_class(name, "sched_cls", lr_scheduler, lr_scheduler.LRScheduler)
            self.factories.append(ClassSchedulerFactory(found, name, kwargs))
            self.steps.append(part.get("steps"))

    @property
    def follows_run(self) -> bool:
        """Whether another length of the run makes it another schedule."""
        last = self.factories[-1]
        return self.steps[-1] is None and bool(_lengths(last, 1))

    def build(self, optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        """Return the schedule.

        Args:
            optimizer: The optimizer whose learning rates it sets.
            total_steps: Optimizer steps of the run.

        Raises:
            ConfigError: The run ends before the last part begins.
        """
        ends = list(accumulate(steps for steps in self.steps[:-1] if steps is not None))
        begin = ends[-1] if ends else 0
        if begin >= total_steps:
            message = f"the last part begins after {begin} steps, and the run has {total_steps}"
            raise ConfigError(Problem(message, path="parts"))
        own = [steps or total_steps - begin for steps in self.steps]
        schedules = [
            call_checked(
                factory.scheduler_class,
                factory.owner,
                optimizer,
                **{**_lengths(factory, steps), **factory.kwargs},
            )
            for factory, steps in zip(self.factories, own, strict=True)
        ]
        return lr_scheduler.SequentialLR(optimizer, schedules, milestones=ends)


def _lengths(factory: ClassSchedulerFactory, steps: int) -> dict[str, int]:
    """Return the parameters that are the length of a part, but those that the file gives."""
    known = inspect.signature(factory.scheduler_class).parameters
    wanted = (*_LENGTH_PARAMETERS, "total_iters")
    return {name: steps for name in wanted if name in known and name not in factory.kwargs}


def _require_part(part: Any, number: int, *, is_last: bool) -> None:
    """Refuse a part that is not `{type: ..., steps: ..., kwargs: ...}`."""
    path = f"parts.{number}"
    if not hasattr(part, "items") or "type" not in part:
        message = f"a part is a mapping such as {{type: LinearLR, steps: 500}}, not {part!r}"
        raise ConfigError(Problem(message, path=path))
    for key in part:
        if key not in _PART_KEYS:
            message = f"a part has {', '.join(_PART_KEYS)}, not {key!r}"
            suggestions = nearest(str(key), _PART_KEYS)
            raise ConfigError(Problem(message, path=f"{path}.{key}", suggestions=suggestions))
    steps = part.get("steps")
    if steps is None and is_last:
        return
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        message = f"'steps' of a part is a whole number from 1, not {steps!r}"
        raise ConfigError(Problem(message, path=path if steps is None else f"{path}.steps"))


@dataclass(slots=True)
class ScheduleHandle:
    """A schedule and when it is stepped.

    Attributes:
        scheduler: Has `step`, `state_dict` and `load_state_dict`.
        interval: `step`, `epoch` or `metric`.
        monitor: The metric of the interval `metric`.
        follows_run: Another length of the run makes it another schedule, as its factory says.
    """

    scheduler: Any
    interval: str = "step"
    monitor: str | None = None
    follows_run: bool = False


def _find_class(name: str, prefix: str, module: Any, base: type) -> Callable[..., Any]:
    bare = name.removeprefix(f"{prefix}.")
    found = getattr(module, bare, None)
    if isinstance(found, type) and issubclass(found, base) and found is not base:
        return found
    known = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and not key.startswith("_")
    ]
    message = f"{module.__name__} has no {bare!r}"
    raise ConfigError(
        Problem(message, path="type", code="unknown-component", suggestions=nearest(bare, known))
    )
