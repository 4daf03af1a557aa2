"""One experiment in workers of a cluster, seen from the process that started it."""

from __future__ import annotations

import sys
import tempfile
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from trainer_core.distributed.reports import rebuild
from trainer_core.engine.runfolder import describe_plugins, resolved_yaml
from trainer_core.errors import TrainerError
from trainer_core.results import RunResult
from trainer_ray.mailbox import NAMESPACE, Mailbox
from trainer_ray.worker import train_func

if TYPE_CHECKING:
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.options import Options

__all__ = ["Job"]


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
        actor = ray.remote(num_cpus=0)(Mailbox)
        self._mailbox: Any = actor.options(name=name, namespace=NAMESPACE).remote()
        self._name = name
        self._failure: Exception | None = None
        self._news: dict[str, Any] = {"lines": [], "outcome": None, "errors": {}}
        self._thread = threading.Thread(target=self._fit, daemon=True)

    def start(self) -> None:
        """Start the workers."""
        self._thread.start()

    def wait(self, limit_s: float) -> bool:
        """Wait at most so long, in seconds; return whether the job has ended."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def ask_to_stop(self, signal_name: str) -> None:
        """Let the workers save and leave after their step."""
        self._mailbox.ask_to_stop.remote(signal_name)

    def take_lines(self) -> list[tuple[str, str]]:
        """Return what the workers wrote since the last call, as (stream, whole lines)."""
        with suppress(RayError):
            self._news = ray.get(self._mailbox.news.remote())
        lines: list[tuple[str, str]] = self._news["lines"]
        self._news["lines"] = []
        return lines

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

    def _make_trainer(self, folder: str) -> TorchTrainer:
        options = self._options
        backend = options.backend
        if backend == "auto":
            backend = "nccl" if options.use_gpu else "gloo"
        loop: Any = train_func  # what it returns is for programs that own their trainer
        timeout_s = round(options.group_timeout_s(backend))
        return TorchTrainer(
            loop,
            train_loop_config=self._describe(),
            torch_config=TorchConfig(backend=backend, timeout_s=timeout_s),
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
            "wheels": describe_plugins(loaded)["wheels"],
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
        for rank, report in (own or reports).items():
            return rebuild(report, rank=rank or None)
        reason = str(self._failure).strip() if self._failure else "no rank said how it ended"
        return TrainerError(f"the workers of Ray failed: {reason}")
