"""Joins a Ray cluster, or starts one on this machine that no other machine can reach."""

from __future__ import annotations

import importlib
import logging
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trainer_core.distributed.waiting import LOOPBACK, within
from trainer_core.errors import MissingPackageError, UserError
from trainer_ray.mailbox import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Connection", "cluster", "import_ray", "require_token"]

_DEFAULTS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a dead worker is noticed
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",  # a machine may be cut off
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # else 15: the learner and all else on the machine come first
}

# Ray turns 127.0.0.1 into the machine's address in the network and then listens on every
# interface, unless it is told that there are no other machines.
_OTHER_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_ONE_MACHINE = {
    _OTHER_MACHINES: "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes this machine away
}


class Connection(Protocol):
    """What a runner's options say about its cluster."""

    @property
    def runner(self) -> str:
        """Name of the runner, for messages."""

    @property
    def address(self) -> str:
        """A running cluster; empty: a new one on this machine."""

    @property
    def connect_timeout_s(self) -> float:
        """How long to wait for the cluster, in seconds."""

    @property
    def runtime_env(self) -> Mapping[str, Any]:
        """Ray's description of what the workers need."""


def import_ray(*, need: str = "ray", with_train: bool = True) -> Any:
    """Return Ray.

    Args:
        need: Name of the runner that needs it.
        with_train: Whether its training library is needed too.

    Raises:
        MissingPackageError: Either is not installed.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        ray = importlib.import_module("ray")
        if with_train:
            importlib.import_module("ray.train.torch")
    except ImportError as error:
        need = f"runner {need}"
        raise MissingPackageError(need, "ray[train]") from error
    return ray


@contextmanager
def cluster(options: Connection) -> Iterator[None]:
    """Be connected: to `address`, to what a program has joined before, or to a new one.

    A cluster that is started here is on the loopback interface, without a dashboard, and ends
    with the context.

    Raises:
        UserError: There is no cluster at the address, it is open to everyone, or it has another
            version of Python or Ray.
        MissingPackageError: Ray is not installed.
    """
    ray = import_ray(need=options.runner, with_train=False)
    if ray.is_initialized():
        _require_token_of_nodes(options, ray)
        yield
        return
    common: dict[str, Any] = {
        "namespace": NAMESPACE,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": dict(options.runtime_env) or None,
    }
    try:
        if options.address:
            with _own_environment(options):
                _join(ray, options, common)
            _require_token_of_nodes(options, ray)
            yield
        else:
            with _no_other_machines():
                with _own_environment(options), _own_signals():
                    ray.init(
                        "local", include_dashboard=False, _node_ip_address=LOOPBACK[0], **common
                    )
                _require_token_of_nodes(options, ray)
                yield
    finally:
        ray.shutdown()


@contextmanager
def _own_environment(options: Connection) -> Iterator[None]:
    """Say of what Ray finds wrong in `runtime_env` that it is there."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not options.runtime_env:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        msg = f"runner {options.runner}: Ray refuses runtime_env: {reason}"
        raise UserError(msg) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep Ray from taking SIGTERM from whoever hears it: its handler ends the process silently."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        yield
        return
    utils: Any = importlib.import_module("ray._private.utils")
    before = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = before


@contextmanager
def _no_other_machines() -> Iterator[None]:
    """Keep what Ray starts in this context, and what that starts, on the loopback interface."""
    constants: Any = importlib.import_module("ray._private.ray_constants")
    before = {name: os.environ.get(name) for name in _ONE_MACHINE}
    was_allowed = constants.ENABLE_RAY_CLUSTER
    os.environ.update(_ONE_MACHINE)
    constants.ENABLE_RAY_CLUSTER = False  # read from the environment when Ray was imported
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = was_allowed
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _join(ray: Any, options: Connection, common: dict[str, Any]) -> None:
    host = options.address.rpartition("://")[2].partition(":")[0]
    is_open = os.environ.get("RAY_AUTH_MODE") == "disabled"
    require_token(options, [] if host == "auto" else [host], is_open=is_open)
    try:
        within(options.connect_timeout_s, lambda: ray.init(options.address, **common))
    except TimeoutError as error:
        reason = (
            f"nobody answers in {options.connect_timeout_s:g} s, or nobody who takes this "
            "process's token (RAY_AUTH_MODE=token, and the cluster's RAY_AUTH_TOKEN)"
        )
        raise _unreachable(options, reason) from error
    except ray.exceptions.AuthenticationError as error:
        raise _without_token(options) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        if isinstance(error, ValueError) and options.runtime_env:
            raise
        if "Version mismatch" in str(error):
            raise _other_version(options, str(error)) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if reason.startswith("Failed to connect"):
            reason = "nobody answers there to this process's token (RAY_AUTH_TOKEN)"
        raise _unreachable(options, reason) from error


def _unreachable(options: Connection, reason: str) -> UserError:
    msg = (
        f"runner {options.runner}: there is no Ray cluster at address {options.address!r}: "
        f"{reason}; `ray status` shows a running one, and without `address` the run has one of "
        "its own"
    )
    return UserError(msg)


def _without_token(options: Connection) -> UserError:
    msg = (
        f"runner {options.runner}: the cluster at {options.address!r} asks for a token, and this "
        "process has none that it takes: put the cluster's into RAY_AUTH_TOKEN or "
        "~/.ray/auth_token (`ray get-auth-token` shows that of a machine)"
    )
    return UserError(msg)


def _other_version(options: Connection, told: str) -> UserError:
    """Explain Ray's own refusal, which names both sides in lines of their own."""
    lines = [line.strip() for line in told.splitlines()]
    found = [line for line in lines if line.startswith(("Ray: ", "Python: "))]
    there, here = ", ".join(found[:2]), ", ".join(found[2:4])
    msg = (
        f"runner {options.runner}: the cluster at {options.address!r} has {there}, and this "
        f"process has {here}: both have to be the same"
    )
    return UserError(msg)


def _require_token_of_nodes(options: Connection, ray: Any) -> None:
    hosts = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    raylet = importlib.import_module("ray._raylet")
    is_open = raylet.get_authentication_mode() == raylet.AuthenticationMode.DISABLED
    require_token(options, hosts, is_open=is_open)


def require_token(options: Connection, hosts: list[str], *, is_open: bool) -> None:
    """Refuse to send code to, and take it from, everyone in the network.

    Args:
        options: The runner's.
        hosts: Where the cluster's machines are.
        is_open: Whether the cluster obeys without a token.

    Raises:
        UserError: It does, and one of the machines can be reached from others.
    """
    reachable = [host for host in hosts if host not in LOOPBACK]
    if not is_open or not reachable:
        return
    msg = (
        f"runner {options.runner}: RAY_AUTH_MODE is not 'token', and {reachable[0]} is not the "
        "loopback interface: whoever reaches a Ray port there runs code; start the cluster and "
        "this run with RAY_AUTH_MODE=token (`ray get-auth-token --generate` makes the token)"
    )
    raise UserError(msg)
