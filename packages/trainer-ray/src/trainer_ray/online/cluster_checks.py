"""What is refused once there is a cluster, before anything is built or written."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from policy_constructor.errors import ConfigError
from trainer_ray.mailbox import NAMESPACE

if TYPE_CHECKING:
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.online.options import Options

__all__ = ["describe_holder", "learner_name", "require_free", "require_room"]

_PATIENCE_S = 10.0
_ACTORS = {
    "replay_buffer": ("replay buffer", "sample"),
    "policy_state_manager": ("policy state manager", "publish"),
}
"""For an option: what its actor is, and a method that only such an actor has."""


def learner_name(loaded: LoadedExperiment) -> str:
    """Return how a run calls itself in the cluster; it is the same when it goes on."""
    out_dir = Path(loaded.config.run.out_dir).absolute()
    return f"{loaded.config.run.name} in {out_dir} on {socket.gethostname()}"


def require_room(loaded: LoadedExperiment, options: Options) -> None:
    """Refuse rollout workers that the cluster cannot hold.

    Raises:
        ConfigError: Its machines have too few CPUs.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call] # Ray leaves it so
    alive = [node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]]
    room = sum(int(count) for count in alive)
    if room < options.rollout_workers:
        message = (
            f"{options.rollout_workers} rollout workers do not fit: each takes a CPU, and the "
            f"cluster has {room}"
        )
        raise ConfigError(loaded.resolved.problem(("runner", "rollout_workers"), message))


def require_free(loaded: LoadedExperiment, options: Options) -> None:
    """Refuse actors of the cluster that another run learns with, or that are something else.

    One that does not answer is left to whoever starts it.

    Raises:
        ConfigError: The run needs another name.
    """
    for option, (kind, method) in _ACTORS.items():
        name = getattr(options, option)
        try:
            actor: Any = ray.get_actor(name, namespace=NAMESPACE)
        except ValueError:
            continue
        if not hasattr(actor, method):
            message = f"the actor {name!r} of the cluster is no {kind}"
            raise ConfigError(loaded.resolved.problem(("runner", option), message))
        holder = _holder(actor)
        if holder not in {"", learner_name(loaded)}:
            message = describe_holder(option, name, holder)
            raise ConfigError(loaded.resolved.problem(("runner", option), message))


def describe_holder(option: str, name: str, holder: str) -> str:
    """Return why an actor cannot be used: another run learns with it."""
    kind, _ = _ACTORS[option]
    return (
        f"the {kind} {name!r} has a learner: {holder}; it has one at a time, so give this run "
        f"another {option}"
    )


def _holder(actor: Any) -> str:
    try:
        return str(ray.get(actor.describe.remote(), timeout=_PATIENCE_S).get("learner", ""))
    except RayError:
        return ""
