"""Named actors of a cluster: joined or started, and asked again while they are restarted."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainer_core.errors import StorageError, TrainerError, UserError
from trainer_ray.mailbox import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NamedActor", "explain", "is_own", "start_actor"]

_START_S = 30.0
_GLANCE_S = 0.5
_PAUSE_S = 0.2


class NamedActor:
    """An actor that others find by its name; it lives as long as the learner unless it was joined.

    Ray starts it again when its process dies, and repeats what it was asked meanwhile. One that
    is gone for good, as the cluster of its owner is, is made anew.

    Args:
        kind: What it is, for messages.
        name: Its name in the cluster.
        make: Returns the actor of that name, or a new one.
    """

    def __init__(self, kind: str, name: str, make: Callable[[], Any]) -> None:
        self.kind = kind
        self.name = name
        self.is_joined = False
        self._make = make
        self._lock = threading.Lock()
        self._handle: Any = None

    def start(self) -> None:
        """Join the actor, or make it; one that is about to end with its owner is waited for.

        Raises:
            UserError: It refuses what it is made of.
            TrainerError: It does not answer.
        """
        deadline = time.monotonic() + _START_S
        while True:
            self.is_joined = self._exists()
            try:
                self._handle = self._make()
            except (UserError, StorageError):
                raise
            except TrainerError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return

    def ask(self, method: str, *arguments: Any) -> Any:
        """Ask something; return the reference of the answer at once."""
        return getattr(self._handle, method).remote(*arguments)

    def call(
        self,
        method: str,
        *arguments: Any,
        limit_s: float,
        check: Callable[[], None] = lambda: None,
    ) -> Any:
        """Ask something and return the answer.

        Args:
            method: Its name.
            *arguments: What it is called with.
            limit_s: How long to wait for it, in seconds.
            check: Called while this waits; may raise.

        Raises:
            TrainerError: There was no answer in time, or it is an error.
        """
        deadline = time.monotonic() + limit_s
        reference = self.ask(method, *arguments)
        while True:
            try:
                return ray.get(reference, timeout=_GLANCE_S)
            except GetTimeoutError:
                check()
            except RayTaskError as error:
                raise explain(error) from error
            except RayActorError as error:
                self.revive(error)
                time.sleep(_PAUSE_S)
                reference = self.ask(method, *arguments)
            if time.monotonic() > deadline:
                msg = f"the {self.kind} {self.name!r} has not answered for {limit_s:g} s"
                raise TrainerError(msg)

    def revive(self, error: RayActorError) -> None:
        """Make an actor anew that is gone for good; one that Ray restarts is left to it.

        Raises:
            TrainerError: It cannot be made.
        """
        if not isinstance(error, ActorDiedError):
            return
        with self._lock, suppress(ValueError):  # its name is not free yet: the next answer tells
            self.is_joined = self.is_joined and self._exists()
            self._handle = self._make()

    def end(self) -> None:
        """End the actor unless it was joined."""
        if self._handle is not None and not self.is_joined:
            ray.kill(self._handle, no_restart=True)

    def _exists(self) -> bool:
        try:
            ray.get_actor(self.name, namespace=NAMESPACE)
        except ValueError:
            return False
        return True


def start_actor(name: str, kind: type, *arguments: Any, **options: Any) -> Any:
    """Return the actor of a name, or a new one near this process that takes no CPU.

    Args:
        name: Its name in the cluster.
        kind: Its class; a plain one.
        *arguments: What the class is called with.
        **options: The same, by name.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(kind)
    named = actor.options(
        name=name, namespace=NAMESPACE, get_if_exists=True, scheduling_strategy=here
    )
    return named.remote(*arguments, **options)


def is_own(error: Exception) -> bool:
    """Return whether an error of an actor is one of ours, and not Ray's."""
    return isinstance(getattr(error, "cause", None), TrainerError)


def explain(error: Exception) -> TrainerError:
    """Return an error of an actor as one of ours: a wrong input stays one."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, TrainerError):
        return cause
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return TrainerError(lines[-1].strip() if lines else type(error).__name__)
