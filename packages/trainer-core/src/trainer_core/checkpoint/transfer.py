"""The state of optimizers and schedules, put into ones with other settings."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from trainer_core.optim import ScheduleHandle

__all__ = ["Beginning", "advance_schedule", "keep_settings", "settings_of"]

_log = logging.getLogger(__name__)


class Beginning:
    """Schedules and settings of optimizers as they were built.

    A checkpoint with other settings is loaded into new schedules. A run that goes back to it while
    it trains has to make them new again.

    Args:
        optimizers: By name; not stepped yet.
        schedules: By the name of their optimizer; not stepped yet.
    """

    def __init__(
        self,
        optimizers: Mapping[str, torch.optim.Optimizer],
        schedules: Mapping[str, ScheduleHandle],
    ) -> None:
        self._settings = [(one, copy.deepcopy(settings_of(one))) for one in optimizers.values()]
        self._schedules = [
            (handle.scheduler, copy.deepcopy(handle.scheduler.state_dict()))
            for handle in schedules.values()
        ]

    def return_to(self) -> None:
        """Put the settings and the schedules back."""
        for schedule, state in self._schedules:
            schedule.load_state_dict(copy.deepcopy(state))
        for optimizer, settings in self._settings:
            keep_settings(optimizer, copy.deepcopy(settings))


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the settings of an optimizer's groups as they are."""
    return [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def keep_settings(optimizer: torch.optim.Optimizer, settings: list[dict[str, Any]]) -> None:
    """Put settings back over those that a checkpoint brought; its averages stay."""
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def advance_schedule(name: str, handle: ScheduleHandle, stored: Mapping[str, Any]) -> None:
    """Bring a new schedule to where the stored one was, step by step.

    One that follows a metric has no place to be brought to and begins anew.

    Args:
        name: The optimizer's name.
        handle: The schedule of this run, not stepped yet.
        stored: State of the checkpoint's schedule.
    """
    done = stored.get("last_epoch")
    if handle.interval == "metric" or not isinstance(done, int):
        _log.warning("the schedule of the optimizer %r begins anew", name)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would like a step of the optimizer before each
        for _ in range(done):
            handle.scheduler.step()
