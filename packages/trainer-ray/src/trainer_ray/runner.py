"""The `ray` and `ray_online` runners: declared, so that their names are known; not built yet."""

from __future__ import annotations

from typing import Any, NoReturn

from trainer_core.errors import UserError

__all__ = ["RayOnlineRunner", "RayRunner"]


def _refuse(name: str) -> NoReturn:
    message = (
        f"the runner '{name}' is not available yet in trainer-ray 0.1.0; "
        "use 'runner: {_type_: local}' or '--runner local'"
    )
    raise UserError(message)


class RayRunner:
    """Run the experiment's loop in the workers of a Ray cluster. Not available in this version.

    Args:
        num_workers: Worker processes of the cluster.

    Raises:
        UserError: Always, when the run starts.
    """

    def __init__(self, *, num_workers: int = 1) -> None:
        self.num_workers = num_workers

    def run(self, experiment: Any) -> NoReturn:
        """Refuse to run, naming what works instead."""
        del experiment
        _refuse("ray")


class RayOnlineRunner:
    """Learn from online rollouts and offline data together. Not available in this version.

    Args:
        num_workers: Rollout workers of the cluster.

    Raises:
        UserError: Always, when the run starts.
    """

    def __init__(self, *, num_workers: int = 1) -> None:
        self.num_workers = num_workers

    def run(self, experiment: Any) -> NoReturn:
        """Refuse to run, naming what works instead."""
        del experiment
        _refuse("ray_online")
