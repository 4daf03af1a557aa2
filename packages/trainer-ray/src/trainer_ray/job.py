"""One experiment in workers of a cluster, seen from the process that started it."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainer_core.checkpoint.layout import list_steps
from trainer_core.distributed.reports import rebuild
from trainer_core.engine.runfolder import resolved_yaml
from trainer_core.engine.watchdog import STACKS
from trainer_core.errors import Interrupted, TrainerError
from trainer_core.results import RunResult
from trainer_ray.mailbox import NAMESPACE, Mailbox
from trainer_ray.meeting import Meeting
from trainer_ray.room import describe_free
from trainer_ray.software import describe_software, explain_environment
from trainer_ray.worker import train_func

if TYPE_CHECKING:
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.options import Options
    from trainer_ray.room import Room

__all__ = ["Job"]

_PATIENCE_S = 30.0
_GRACE_S = 3.0


class Job:
    """Runs an experiment through Ray Train, in a thread: the caller hears signals meanwhile.

    Args:
        loaded: The experiment.
        options: The runner's options.
    """

    def __init__(self, loaded: LoadedExperiment, options: Options) -> None:
        self._loaded = loaded
        self._options = options
        name = f"mailbox-{uuid.uuid4().hex}"
        actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Mailbox)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        placed = actor.options(name=name, namespace=NAMESPACE, scheduling_strategy=here)
        self._mailbox: Any = placed.remote()  # it must not die with another machine
        self._name = name
        self._failure: Exception | None = None
        self._news: dict[str, Any] = {
            "lines": [],
            "outcome": None,
            "errors": {},
            "has_begun": False,
            "progress": {"step": 0, "total_steps": 0, "metrics": {}},
        }
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._out_dir = Path(loaded.config.run.out_dir)
        self._hung = self._find_hung()
        self._last_hung = ""
        self._wish = ""
        self._wished: float | None = None
        self._told = time.monotonic()

    def start(self) -> None:
        """Start the workers."""
        self._thread.start()

    def wait(self, limit_s: float) -> bool:
        """Wait at most so long, in seconds; return whether the job has ended."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def ask_to_stop(self, signal_name: str) -> None:
        """Let the workers save and leave after their step."""
        self._wish = signal_name
        self._wished = self._wished or time.monotonic()
        self._mailbox.ask_to_stop.remote(signal_name)

    def give_up_without(self, room: Room) -> None:
        """Stop waiting for machines that do not come.

        Raises:
            TrainerError: The cluster has been too small for too long.
            Interrupted: It is too small, or the workers have not begun, and the run was asked to
                stop.
        """
        try:
            room.look()
        except TrainerError as error:
            self.ask_to_stop("SIGTERM")  # should they come after all
            msg = f"{error}{self._tell_newest()}"
            raise TrainerError(msg) from error
        if room.is_short and self._wish:
            msg = f"interrupted by {self._wish} while machines are missing{self._tell_newest()}"
            raise Interrupted(msg)
        is_late = self._wished is not None and time.monotonic() - self._wished > _GRACE_S
        if is_late and not self._news["has_begun"]:
            newest = self._tell_newest(has_room=True)
            msg = f"interrupted by {self._wish} before the workers began{newest}"
            raise Interrupted(msg)

    @property
    def has_begun(self) -> bool:
        """Whether all workers have come to their loop, as far as is known."""
        return bool(self._news["has_begun"])

    @property
    def progress(self) -> dict[str, Any]:
        """How far the run is: `step`, `total_steps`, the newest `metrics`."""
        progress: dict[str, Any] = self._news["progress"]
        return progress

    def take_lines(self) -> list[tuple[str, str]]:
        """Return what the workers wrote since the last call, as (stream, whole lines)."""
        with suppress(RayError):
            self._news = self._remind(ray.get(self._mailbox.news.remote()))
        lines: list[tuple[str, str]] = self._news["lines"]
        self._news["lines"] = []
        lines += self._tell_waiting()
        for path, message in self._find_hung().items():
            is_new = path not in self._hung and message != self._last_hung
            self._hung[path] = message
            if is_new:
                self._last_hung = message
                lines.append(("stderr", f"error: {message}\n"))
        return lines

    def _remind(self, news: dict[str, Any]) -> dict[str, Any]:
        """Tell a mailbox that was started again what it has forgotten; return what is true."""
        known = {name: news[name] or self._news[name] for name in ("outcome", "has_begun")}
        if known["has_begun"] != news["has_begun"]:
            self._mailbox.begin.remote()
        if self._wish != news["wish"]:
            self._mailbox.ask_to_stop.remote(self._wish)
        return {**news, **known}

    def _tell_waiting(self) -> list[tuple[str, str]]:
        """Say, now and then, that the workers have not begun."""
        if self._news["has_begun"] or time.monotonic() - self._told < _PATIENCE_S:
            return []
        self._told = time.monotonic()
        count, free = self._options.num_workers, describe_free(self._options)
        workers = f"{count} workers" if count > 1 else "the worker"
        return [("stderr", f"waiting for {workers} to begin; free in the cluster: {free}\n")]

    def result(self) -> RunResult:
        """Return how the run ended.

        Raises:
            ConfigError: Something in the file cannot be had or does not fit.
            TrainerError: The run failed; the message names the rank.
        """
        outcome = self._news["outcome"]
        if outcome is None:
            raise self._explain()
        return RunResult(**{**outcome, "out_dir": Path(outcome["out_dir"])})

    def _fit(self) -> None:
        with tempfile.TemporaryDirectory(prefix="trainer-ray-") as folder:
            try:
                self._make_trainer(folder).fit()
            except Exception as error:  # noqa: BLE001 - explained by the thread that waits
                self._failure = error
            except SystemExit:  # Ray's own end of a thread that waits when the driver leaves
                return

    def _make_trainer(self, folder: str) -> TorchTrainer:
        options = self._options
        loop: Any = train_func  # what it returns is for programs that own their trainer
        return TorchTrainer(
            loop,
            train_loop_config=self._describe(),
            torch_config=Meeting(),
            scaling_config=ScalingConfig(
                num_workers=options.num_workers,
                use_gpu=options.use_gpu,
                resources_per_worker=options.resources,
                placement_strategy=options.placement,
            ),
            run_config=RunConfig(
                name=self._name,
                storage_path=folder,
                failure_config=FailureConfig(max_failures=options.max_failures),
            ),
        )

    def _describe(self) -> dict[str, Any]:
        """Return what lets a worker load the same experiment, wherever it is, as plain data."""
        loaded = self._loaded
        is_file = loaded.source != "<python>"
        chosen = loaded.resolved.node("runner", "_type_")
        return {
            "config": loaded.source if is_file else loaded.resolved.data,
            "overrides": list(loaded.overrides) if is_file else [],
            "runner": None if chosen is None else chosen.value,
            "text": resolved_yaml(loaded),
            "software": describe_software(loaded),
            "dry_run": loaded.dry_run,
            "options": self._options.to_json(),
            "folder": str(Path.cwd()),
            "path": sys.path,
            "mailbox": self._name,
        }

    def _explain(self) -> Exception:
        """Return the error of the rank that failed first of its own."""
        reports: dict[int, dict[str, Any]] = self._news["errors"]
        own = {
            rank: report
            for rank, report in sorted(reports.items())
            if not report.get("is_echo") and not report.get("is_peer_lost")
        }
        if self._last_hung and not own:
            return TrainerError(self._last_hung)
        for rank, report in (own or reports).items():
            return rebuild(report, rank=rank or None)
        reason = str(self._failure).strip() if self._failure else "no rank said how it ended"
        refused = explain_environment(self._options.runner, reason)
        if refused is not None:
            return refused
        return TrainerError(f"the workers of Ray failed: {reason}")

    def _find_hung(self) -> dict[tuple[Path, int], str]:
        """Return what watchdogs of this run have said, by file and time: their ranks cannot."""
        found = {}
        for path in self._out_dir.glob(f"{STACKS}/rank-*.txt"):
            with suppress(OSError):
                found[path, path.stat().st_mtime_ns] = path.read_text().partition("\n")[0]
        return found

    def _tell_newest(self, *, has_room: bool = False) -> str:
        """Return where the run goes on, as a clause."""
        steps = list_steps(self._out_dir / "checkpoints")
        where = f" from step {steps[0][0]}" if steps else ""
        return (
            f"; the same command goes on{where}{'' if has_room else ' when the cluster has room'}"
        )
