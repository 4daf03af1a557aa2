"""For programs that bring episodes of their own, such as the one that drives a robot.

    import ray
    from trainer_ray.online.client import ReplayClient

    ray.init("192.168.1.10:6379", namespace="trainer")  # the learner's cluster
    client = ReplayClient("arm-left")
    client.add([{"columns": {"observation.state": states, "action": actions}, "success": True}])

The environment must have the cluster's RAY_AUTH_TOKEN.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

from trainer_core.errors import MissingPackageError, StorageError, TrainerError, UserError
from trainer_ray.mailbox import NAMESPACE
from trainer_ray.online.incoming import require_sender

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ReplayClient", "ask"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


class ReplayClient:
    """Adds episodes to the replay buffer of a learner, each once, through kills of the buffer.

    One thread at a time. The program has joined the learner's cluster before: `ray.init(address)`
    with the cluster's token in the environment variable RAY_AUTH_TOKEN.

    Args:
        producer: A name that no other producer has. A program that is started again under its name
            goes on where it was.
        name: Of the buffer's actor, the learner's option `replay_buffer`.
        namespace: Ray's namespace of that actor.
        patience_s: How long one call tries, while the buffer restarts or its disk is full.

    Raises:
        MissingPackageError: Ray is not installed.
        UserError: The program has not joined a cluster.
        TrainerError: There is no such buffer, or it does not answer.
    """

    def __init__(
        self,
        producer: str,
        *,
        name: str = "replay_buffer",
        namespace: str = NAMESPACE,
        patience_s: float = 60.0,
    ) -> None:
        self._ray = _import_ray()
        if not self._ray.is_initialized():
            msg = "no cluster is joined yet: call ray.init(address) before ReplayClient"
            raise UserError(msg)
        self.producer = producer
        self.patience_s = patience_s
        self._name, self._namespace = name, namespace
        self._number: int = self._call("last_number", producer)
        self._pending: list[tuple[int, list[Any]]] = []
        self._earlier: list[dict[str, Any]] = []

    @property
    def last_number(self) -> int:
        """Number of the newest add, acknowledged or not; -1 if there was none."""
        return self._number

    def add(self, episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Add episodes; returns when they are on the learner's disk.

        Args:
            episodes: `columns`: for each key of the buffer (`describe()["keys"]`) an array
                `(steps, *shape)`; `success`; and where wanted `version`: the step of the weights
                that acted, `priority`, and `error`: why it is no data.

        Returns:
            `number` of this add, `accepted`, `kept`, and `refused`: the `episode` (its place) and
            `reason` of each that does not fit. `earlier`: the same of the adds before it that
            raised `TrainerError` and are acknowledged only now.

        Raises:
            TrainerError: It is not acknowledged in time. Do not add these episodes again: they are
                kept here, and the next `add` (also of nothing) sends them first.
            StorageError: The same, because the learner's disk or the object store here is full.
            UserError: This is no list of episodes; nothing is kept.
        """
        self._number += 1
        require_sender(self.producer, self._number, episodes)
        self._pending.append((self._number, list(episodes)))
        while self._pending:
            self._earlier.append(self._send_oldest())
        *earlier, answer = self._earlier
        self._earlier = []
        return {**answer, "earlier": earlier}

    def _send_oldest(self) -> dict[str, Any]:
        """Send the add that waits longest; return its answer with its number."""
        number, waiting = self._pending[0]
        try:
            answer: dict[str, Any] = self._call("add", self.producer, number, waiting)
        except Exception as error:
            if isinstance(error, UserError) or not isinstance(error, TrainerError):
                del self._pending[0]  # it would be refused for ever
            raise
        del self._pending[0]
        return {"number": number, **answer}

    def describe(self) -> dict[str, Any]:
        """Return what is in the buffer: `keys`, `frames`, `successes` and so on."""
        found: dict[str, Any] = self._call("describe")
        return found

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call the actor until it answers or the patience ends."""
        deadline = time.monotonic() + self.patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            rest_s = max(deadline - time.monotonic(), _FIRST_PAUSE_S)
            try:
                return ask(self._find(), method, *arguments, timeout_s=rest_s)
            except UserError:
                raise
            except TrainerError:  # it restarts, or its disk is full
                if time.monotonic() + pause_s >= deadline:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _find(self) -> Any:
        try:
            return self._ray.get_actor(self._name, namespace=self._namespace)
        except ValueError as error:
            msg = (
                f"there is no replay buffer {self._name!r} in the namespace {self._namespace!r} of "
                "this cluster; a run with `runner: {_type_: ray_online}` has one"
            )
            raise TrainerError(msg) from error


def ask(actor: Any, method: str, *arguments: Any, timeout_s: float) -> Any:
    """Call a method of the buffer's actor; its own errors come as what they are.

    Raises:
        UserError: An argument is wrong.
        StorageError: The buffer's disk is full, or the object store here.
        TrainerError: The actor does not answer.
    """
    ray = _import_ray()
    try:
        return ray.get(getattr(actor, method).remote(*arguments), timeout=timeout_s)
    except ray.exceptions.GetTimeoutError as error:
        msg = f"the replay buffer does not answer in {timeout_s:.3g} s"
        raise TrainerError(msg) from error
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        reason = str(error).strip().partition(chr(10))[0]
        msg = f"Ray's object store on this machine has no place for what is sent: {reason}"
        raise StorageError(msg) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TrainerError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        msg = f"the replay buffer does not answer: {str(error).strip().partition(chr(10))[0]}"
        raise TrainerError(msg) from error


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        need = "the client of the replay buffer"
        raise MissingPackageError(need, "ray") from error
