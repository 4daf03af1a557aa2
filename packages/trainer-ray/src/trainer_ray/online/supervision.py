"""Watches the actors of a run: restarts rollout workers, keeps the buffer, says what fails."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from trainer_core.errors import StorageError, TrainerError, UserError
from trainer_ray.online.actors import explain
from trainer_ray.online.complaints import Complaints
from trainer_ray.online.hosting import RolloutHost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainer_ray.online.actors import NamedActor

__all__ = ["Supervisor"]

_log = logging.getLogger(__name__)

_GLANCE_S = 0.25
_TOUCH_S = 5.0
_MOST_FAILURES = 3
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_END_S = 10.0


@dataclass
class _Worker:
    """A rollout worker and how it fares."""

    spec: dict[str, Any]
    host: Any = None
    ended: Any = None
    failures: int = 0
    calls_before: int = 0
    calls: int = 0
    silent_s: float = 0.0
    next_start: float = 0.0
    last_error: str = ""

    @property
    def name(self) -> str:
        return str(self.spec["producer"])


class _Repeated:
    """A question that is asked again and again, without waiting for the answer."""

    def __init__(self, actor: NamedActor, method: str, *arguments: Any, every_s: float) -> None:
        self._actor = actor
        self._method = method
        self._arguments = arguments
        self._every_s = every_s
        self._pending: Any = None
        self._next = 0.0

    def poll(self) -> tuple[Any, ...]:
        """Return a tuple with the answer, an empty one while there is none."""
        now = time.monotonic()
        if self._pending is None:
            if now < self._next:
                return ()
            self._pending, self._next = (
                self._actor.ask(self._method, *self._arguments),
                now + self._every_s,
            )
        try:
            answer = ray.get(self._pending, timeout=0)
        except GetTimeoutError:
            return ()
        except RayActorError as error:
            self._pending = None
            self._actor.revive(error)
            return ()
        except RayTaskError as error:
            self._pending = None
            explained = explain(error)
            if isinstance(explained, StorageError):  # restarted, and its disk is full
                return ()
            raise explained from error
        self._pending = None
        return (answer,)


@dataclass
class _Newest:
    """What the actors said last."""

    buffer: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=lambda: {"version": -1, "acting": {}})


class Supervisor:
    """Looks after the actors in a thread; what ends the run it leaves in `failure`.

    Args:
        buffer: The replay buffer.
        manager: The policy state manager.
        learner: Who learns, for their leases.
        published: Returns the version of the weights that were published last.
        publish_again: Publishes them again.
        runtime_env: What rollout workers need on their machines.
        limit_s: A worker that ends no episode for so long, in seconds, hangs; None: none does.

    Attributes:
        failure: Why the run has to end; None while it need not.
    """

    def __init__(
        self,
        buffer: NamedActor,
        manager: NamedActor,
        learner: str,
        *,
        published: Callable[[], int] = lambda: -1,
        publish_again: Callable[[], None] = lambda: None,
        runtime_env: Mapping[str, Any] | None = None,
        limit_s: float | None = None,
    ) -> None:
        self.failure: TrainerError | None = None
        self._manager = manager
        self._published = published
        self._publish_again = publish_again
        self._runtime_env = dict(runtime_env or {})
        self._limit_s = limit_s
        self._complaints = Complaints()
        self._buffer_silent_s = 0.0
        self._workers: list[_Worker] = []
        self._newest = _Newest()
        self._leases = [
            (actor, _Repeated(actor, "attach", learner, every_s=_TOUCH_S))
            for actor in (buffer, manager)
        ]
        self._buffer = _Repeated(buffer, "describe", every_s=2 * _GLANCE_S)
        self._policy = _Repeated(manager, "describe", every_s=2 * _GLANCE_S)
        self._processes = [
            (each, _Repeated(each, "pid", every_s=1.0)) for each in (buffer, manager)
        ]
        self._pids: dict[str, int] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    @property
    def buffer(self) -> Mapping[str, Any]:
        """What the replay buffer described last; empty before."""
        return self._newest.buffer

    @property
    def acting(self) -> dict[str, int]:
        """The version that each running worker acts with; -1: it has none yet."""
        acting = self._newest.policy["acting"]
        return {
            worker.name: int(acting[worker.name]["version"])
            for worker in self._workers
            if worker.ended is not None and worker.name in acting
        }

    @property
    def last_error(self) -> str:
        """Why a rollout worker ended last; empty if none did."""
        found = [worker for worker in self._workers if worker.last_error]
        return f"{found[-1].name}: {found[-1].last_error}" if found else ""

    def start_workers(self, specs: list[dict[str, Any]]) -> None:
        """Start rollout workers, each from its spec, unless they are there already."""
        self._workers = self._workers or [_Worker(spec) for spec in specs]

    def check(self) -> None:
        """Raise what ends the run."""
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """End the thread and the workers."""
        self._closed.set()
        self._thread.join(_END_S)
        for worker in self._workers:
            _end(worker)

    def _run(self) -> None:
        while not self._closed.wait(_GLANCE_S):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - raised in the learner's thread
                if not self._closed.is_set():
                    failure = error if isinstance(error, TrainerError) else explain(error)
                    failure.__cause__ = error.__cause__ if failure is error else error
                    self.failure = failure
                return

    def _look(self) -> None:
        for actor, question in self._leases:
            for holder in question.poll():
                _require_own(actor, holder)
        self._buffer_silent_s += _GLANCE_S
        for described in self._buffer.poll():
            self._newest.buffer, self._buffer_silent_s = described, 0.0
            self._complaints.hear(described)
        for described in self._policy.poll():
            self._newest.policy = described
            if described["version"] < self._published():
                self._publish_again()
        for actor, question in self._processes:
            for pid in question.poll():
                self._note_process(actor, pid)
        for worker in self._workers:
            self._look_at(worker)
        self._require_one()

    def _note_process(self, actor: NamedActor, pid: int) -> None:
        """Say of an actor that it is another process by now."""
        before = self._pids.setdefault(actor.kind, pid)
        if before != pid:
            _log.warning("the %s was started again: its process %d ended", actor.kind, before)
            self._pids[actor.kind] = pid

    def _look_at(self, worker: _Worker) -> None:
        if worker.ended is None:
            if time.monotonic() >= worker.next_start:
                self._start(worker)
            return
        try:
            report = ray.get(worker.ended, timeout=0)
        except GetTimeoutError:
            if not self._hangs(worker):
                return
            what = f"no episode ended for {self._limit_s:g} s (run.watchdog_s)"
            report = {"message": what, "exit_code": 1, "kind": "it hung"}
        except RayError as error:
            report = {"message": _shortly(error), "exit_code": 1, "kind": "its process ended"}
        if report["exit_code"] == UserError.exit_code:
            msg = f"{worker.name}: {report['message']}"
            raise UserError(msg)
        self._note_failure(worker, report)

    def _hangs(self, worker: _Worker) -> bool:
        """Return whether a worker has ended no episode for too long by itself.

        Glances are counted, not the clock, which goes on while this process is stopped.
        """
        calls = self._calls(worker)
        waits = self._buffer_silent_s > _TOUCH_S or bool(self._newest.buffer.get("disk_error"))
        worker.silent_s = 0.0 if waits or calls != worker.calls else worker.silent_s + _GLANCE_S
        worker.calls = calls
        return self._limit_s is not None and worker.silent_s > self._limit_s

    def _start(self, worker: _Worker) -> None:
        actor = ray.remote(num_cpus=1, max_restarts=0)(RolloutHost)
        options = {"runtime_env": self._runtime_env} if self._runtime_env else {}
        worker.host = actor.options(**options).remote()
        worker.calls_before = worker.calls = self._calls(worker)
        worker.silent_s = 0.0
        worker.ended = worker.host.run.remote(worker.spec)

    def _note_failure(self, worker: _Worker, report: Mapping[str, Any]) -> None:
        has_played = self._calls(worker) > worker.calls_before
        worker.failures = 1 if has_played else worker.failures + 1
        pause_s = min(_FIRST_PAUSE_S * 2 ** (worker.failures - 1), _LONGEST_PAUSE_S)
        worker.last_error = f"{report['kind']}: {report['message']}"
        _log.warning("%s ended and is started again: %s", worker.name, worker.last_error)
        _end(worker)
        worker.next_start = time.monotonic() + pause_s

    def _calls(self, worker: _Worker) -> int:
        """Return how many episodes a worker has told of."""
        acting = self._newest.policy["acting"].get(worker.name, {"calls": 0})
        return int(acting["calls"])

    def _require_one(self) -> None:
        """End the run when no worker plays any more.

        Raises:
            TrainerError: All have failed several times in a row.
        """
        if not self._workers or any(w.failures < _MOST_FAILURES for w in self._workers):
            return
        worker = self._workers[0]
        count = len(self._workers)
        who = "the rollout worker" if count == 1 else f"all {count} rollout workers"
        msg = (
            f"{who} failed {_MOST_FAILURES} times in a row without an episode; "
            f"the last error of {worker.name} was\n  {worker.last_error}"
        )
        raise TrainerError(msg)


def _require_own(actor: NamedActor, holder: str) -> None:
    if holder:
        msg = f"the {actor.kind} {actor.name!r} belongs to another learner by now: {holder}"
        raise UserError(msg)


def _end(worker: _Worker) -> None:
    if worker.host is not None:
        ray.kill(worker.host, no_restart=True)
    worker.host = worker.ended = None


def _shortly(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
