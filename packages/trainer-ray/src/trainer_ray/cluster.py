"""Joins a Ray cluster or starts one on this machine, and looks whether the run fits in it."""

from __future__ import annotations

import importlib
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainer_core.distributed.waiting import LOOPBACK, within
from trainer_core.errors import MissingPackageError, UserError
from trainer_ray.mailbox import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_ray.options import Options

__all__ = ["cluster", "import_ray", "require_resources"]

_DEFAULTS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a dead worker is noticed
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def import_ray() -> Any:
    """Return Ray, with its training library.

    Raises:
        MissingPackageError: Either is not installed.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.train.torch")
    except ImportError as error:
        need = "runner ray"
        raise MissingPackageError(need, "ray[train]") from error
    return ray


@contextmanager
def cluster(options: Options) -> Iterator[None]:
    """Be connected: to `address`, to what a program has joined before, or to a new one.

    A cluster that is started here is on the loopback interface, without a dashboard, and ends
    with the context.

    Raises:
        UserError: There is no cluster at the address, or it is open to everyone.
        MissingPackageError: Ray is not installed.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    _connect(ray, options)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(ray: Any, options: Options) -> None:
    common: dict[str, Any] = {
        "namespace": NAMESPACE,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": options.runtime_env or None,
    }
    if not options.address:
        ray.init("local", include_dashboard=False, _node_ip_address=LOOPBACK[0], **common)
        return
    _require_authentication(options.address)
    try:
        within(options.connect_timeout_s, lambda: ray.init(options.address, **common))
    except TimeoutError as error:
        raise _unreachable(options, f"nobody answers in {options.connect_timeout_s:g} s") from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()
        raise _unreachable(options, reason[0] if reason else type(error).__name__) from error


def _unreachable(options: Options, reason: str) -> UserError:
    msg = (
        f"runner ray: there is no Ray cluster at address {options.address!r}: {reason}; "
        "`ray status` shows a running one, and without `address` the run has one of its own"
    )
    return UserError(msg)


def _require_authentication(address: str) -> None:
    """Refuse to send code to, and take it from, everyone in the network."""
    host = address.rpartition("://")[2].partition(":")[0]
    if os.environ.get("RAY_AUTH_MODE") == "disabled" and host not in {*LOOPBACK, "auto"}:
        msg = (
            f"runner ray: RAY_AUTH_MODE=disabled, and {address} is not on this machine: whoever "
            "reaches a Ray port runs code there; unset it, and Ray asks for a token"
        )
        raise UserError(msg)


def require_resources(options: Options) -> int:
    """Refuse workers that the cluster cannot hold, now or ever; return how many it can.

    Raises:
        UserError: No machine has what a worker takes, or all together have too little.
    """
    need = options.resources
    nodes = [node for node in import_ray().nodes() if node["Alive"]]
    places = sum(_places(node["Resources"], need) for node in nodes)
    if places >= options.num_workers:
        return places
    wish = ", ".join(f"{name}: {amount:g}" for name, amount in need.items())
    have = "; ".join(
        f"{node['NodeManagerAddress']} has "
        + ", ".join(f"{name}: {node['Resources'].get(name, 0):g}" for name in need)
        for node in nodes
    )
    msg = (
        f"runner ray: num_workers: {options.num_workers} with resources_per_worker "
        f"{{{wish}}} do not fit: the cluster has room for {places} ({have})"
    )
    raise UserError(msg)


def _places(resources: dict[str, float], need: dict[str, float]) -> int:
    """Return how many workers a machine can hold."""
    if not need:
        return 1 << 30
    return min(int(resources.get(name, 0.0) / amount + 1e-9) for name, amount in need.items())
