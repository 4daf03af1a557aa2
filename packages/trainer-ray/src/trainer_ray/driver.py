"""Runs an experiment in the workers of a cluster, and waits for how that ends."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from trainer_core.distributed.reports import rebuild
from trainer_core.engine.runfolder import describe_plugins, resolved_yaml
from trainer_core.errors import TrainerError
from trainer_core.results import RunResult
from trainer_ray.cluster import cluster, require_resources
from trainer_ray.mailbox import NAMESPACE, Mailbox
from trainer_ray.worker import train_func

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.options import Options

__all__ = ["launch"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_GLANCE_S = 0.1


def launch(loaded: LoadedExperiment, options: Options) -> RunResult:
    """Run an experiment in workers of a Ray cluster and return the result of rank 0.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        UserError: There is no such cluster, or it cannot hold the workers.
        TrainerError: The run failed; the message names the rank.
        SystemExit: A second signal ended the run at once.
    """
    with cluster(options):
        require_resources(options)
        name = f"mailbox-{uuid.uuid4().hex}"
        actor = ray.remote(num_cpus=0)(Mailbox)
        mailbox = actor.options(name=name, namespace=NAMESPACE).remote()
        with tempfile.TemporaryDirectory(prefix="trainer-ray-") as folder:
            trainer = _make_trainer(loaded, options, name, Path(folder))
            outcome, failure = _Waiting(mailbox, trainer).wait()
    if outcome is not None:
        return RunResult(**{**outcome, "out_dir": Path(outcome["out_dir"])})
    raise failure


def _make_trainer(
    loaded: LoadedExperiment, options: Options, mailbox: str, folder: Path
) -> TorchTrainer:
    """Return Ray's trainer of this experiment."""
    backend = options.backend
    if backend == "auto":
        backend = "nccl" if options.use_gpu else "gloo"
    loop: Any = train_func  # what it returns is for programs that own their trainer
    return TorchTrainer(
        loop,
        train_loop_config={**_describe(loaded, options), "mailbox": mailbox},
        torch_config=TorchConfig(
            backend=backend, timeout_s=round(options.group_timeout_s(backend))
        ),
        scaling_config=ScalingConfig(
            num_workers=options.num_workers,
            use_gpu=options.use_gpu,
            resources_per_worker=options.resources,
            placement_strategy=options.placement,
        ),
        run_config=RunConfig(
            name="run",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=options.max_failures),
        ),
    )


def _describe(loaded: LoadedExperiment, options: Options) -> dict[str, Any]:
    """Return what lets a worker load the same experiment, wherever it is, as plain data."""
    is_file = loaded.source != "<python>"
    chosen = loaded.resolved.node("runner", "_type_")
    return {
        "config": loaded.source if is_file else loaded.resolved.data,
        "overrides": list(loaded.overrides) if is_file else [],
        "runner": None if chosen is None else chosen.value,
        "text": resolved_yaml(loaded),
        "wheels": describe_plugins(loaded)["wheels"],
        "dry_run": loaded.dry_run,
        "options": options.to_json(),
        "folder": str(Path.cwd()),
        "path": sys.path,
    }


class _Waiting:
    """Waits for Ray's trainer in a thread, so that this one hears signals and shows lines."""

    def __init__(self, mailbox: Any, trainer: TorchTrainer) -> None:
        self._mailbox = mailbox
        self._trainer = trainer
        self._failure: Exception | None = None
        self._news: dict[str, Any] = {"lines": [], "outcome": None, "errors": {}}

    def wait(self) -> tuple[dict[str, Any] | None, Exception]:
        """Return the outcome, or the error to raise if there is none."""
        thread = threading.Thread(target=self._fit, daemon=True)
        with _signals(self._ask_to_stop):
            thread.start()
            while thread.is_alive():
                thread.join(_GLANCE_S)
                self._show_news()
        self._show_news()
        return self._news["outcome"], self._explain()

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # noqa: BLE001 - explained by the thread that waits
            self._failure = error

    def _ask_to_stop(self, signal_name: str) -> None:
        self._mailbox.ask_to_stop.remote(signal_name)

    def _show_news(self) -> None:
        """Print what workers wrote."""
        with suppress(ray.exceptions.RayError):
            self._news = ray.get(self._mailbox.news.remote())
        for stream, text in self._news["lines"]:
            file = sys.stdout if stream == "stdout" else sys.stderr
            file.write(text)
            file.flush()
        self._news["lines"] = []

    def _explain(self) -> Exception:
        """Return the error of the rank that failed first of its own."""
        reports: dict[int, dict[str, Any]] = self._news["errors"]
        own = {
            rank: report
            for rank, report in sorted(reports.items())
            if not report.get("is_echo") and not report.get("is_peer_lost")
        }
        for rank, report in (own or reports).items():
            shared = len(reports) > 1 and report["kind"] == "ConfigError"
            return rebuild(report, rank=None if shared or rank == 0 else rank)
        reason = str(self._failure).strip() if self._failure else "no rank said how it ended"
        return TrainerError(f"the workers of Ray failed: {reason}")


@contextmanager
def _signals(ask_to_stop: Any) -> Iterator[None]:
    """Pass the first signal on to the workers; the second ends this process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        del frame
        received.append(number)
        if len(received) > 1:
            os._exit(128 + number)
        ask_to_stop(signal.Signals(number).name)

    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
