"""Looks whether the machines of a cluster have room for the workers, before and during a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from policy_constructor.errors import ConfigError
from trainer_core.errors import TrainerError
from trainer_ray.cluster import import_ray

if TYPE_CHECKING:
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.options import Options

__all__ = ["Room", "describe_free", "require_resources"]

_GLANCE_S = 1.0


class Room:
    """Watches, while a run goes on, that the machines which are left can hold its workers.

    Ray itself would wait for ever for a machine that never comes.

    Args:
        options: The runner's options.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._looked = time.monotonic()
        self._short_since: float | None = None

    @property
    def is_short(self) -> bool:
        """Whether they could not, when they were last looked at."""
        return self._short_since is not None

    def look(self) -> None:
        """Look at the living machines, at most once a second.

        Raises:
            TrainerError: They have been too few for longer than `rejoin_timeout_s`.
        """
        now = time.monotonic()
        if now - self._looked < _GLANCE_S:
            return
        self._looked = now
        nodes = _living()
        places = _places_of(nodes, self._options)
        if places >= self._options.num_workers:
            self._short_since = None
            return
        self._short_since = self._short_since or now
        if now - self._short_since < self._options.rejoin_timeout_s:
            return
        msg = (
            f"runner {self._options.runner}: a machine is gone, and those left have room for "
            f"{places} of {self._options.num_workers} workers "
            f"({_describe(nodes, self._options.resources)}); none came in "
            f"{self._options.rejoin_timeout_s:g} s (rejoin_timeout_s)"
        )
        raise TrainerError(msg)


def require_resources(loaded: LoadedExperiment, options: Options) -> int:
    """Refuse workers that the cluster cannot hold, now or ever; return how many it can.

    Raises:
        ConfigError: No machine has what a worker takes, or all together have too little.
    """
    need = options.resources
    nodes = _living()
    places = _places_of(nodes, options)
    if places >= options.num_workers:
        return places
    wish = ", ".join(f"{name}: {amount:g}" for name, amount in need.items())
    is_strict = options.placement.startswith("STRICT")
    strictly = f" and placement: {options.placement}" if is_strict else ""
    msg = (
        f"num_workers: {options.num_workers} with resources_per_worker "
        f"{{{wish}}}{strictly} do not fit: the cluster has room for {places} "
        f"({_describe(nodes, need)})"
    )
    raise ConfigError(loaded.resolved.problem(("runner", "num_workers"), msg))


def _living() -> list[dict[str, Any]]:
    return [node for node in import_ray().nodes() if node["Alive"]]


def _places_of(nodes: list[dict[str, Any]], options: Options) -> int:
    """Return how many workers the machines can hold, placed as they are to be."""
    places = [_places(node["Resources"], options.resources) for node in nodes]
    if options.placement == "STRICT_SPREAD":
        return sum(count > 0 for count in places)
    return max(places, default=0) if options.placement == "STRICT_PACK" else sum(places)


def describe_free(options: Options) -> str:
    """Return what is free in the cluster of what a worker takes."""
    free = import_ray().available_resources()
    return ", ".join(f"{name}: {free.get(name, 0):g}" for name in options.resources)


def _places(resources: dict[str, float], need: dict[str, float]) -> int:
    """Return how many workers a machine can hold."""
    if not need:
        return 1 << 30
    return min(int(resources.get(name, 0.0) / amount + 1e-9) for name, amount in need.items())


def _describe(nodes: list[dict[str, Any]], need: dict[str, float]) -> str:
    return "; ".join(
        f"{node['NodeManagerAddress']} has "
        + ", ".join(f"{name}: {node['Resources'].get(name, 0):g}" for name in need)
        for node in nodes
    )
