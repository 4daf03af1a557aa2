"""torch's elastic agent with our rules: what is final is not tried again, signals are agreed on."""

from __future__ import annotations

import faulthandler
import gc
import json
import logging
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch.distributed.elastic.agent.server.api import RunResult as GroupResult
from torch.distributed.elastic.agent.server.api import WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousError

from trainer_core.distributed.reports import describe, is_final
from trainer_core.distributed.waiting import within
from trainer_core.distributed.worker import choose_backend, resume_after_restart, run_rank
from trainer_core.errors import UserError
from trainer_ddp.environment import find_place
from trainer_ddp.rendezvous import OneMachine, explained, open_rendezvous

if TYPE_CHECKING:
    from torch.distributed.elastic.rendezvous import RendezvousHandler

    from trainer_core.distributed.place import Place
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ddp.options import Options

__all__ = ["Workers"]

_log = logging.getLogger(__name__)
_MONITOR_INTERVAL_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_RESULT = "result.json"
_ATTEMPT = "TRAINER_DDP_ATTEMPT"
_ENDED = "trainer_ddp/ended"
_LONGEST_END_S = 300.0
_LATE_IMPORTS = (
    "numpy.fft",
    "numpy.random",
    "torch._dynamo",  # of every DistributedDataParallel: two seconds on a busy machine
    "torch.distributed._composable.replicate",
    "torch.distributed._shard.sharded_tensor",
)


class Workers:
    """The processes of a run on this machine.

    Args:
        loaded: The experiment; the processes inherit it.
        options: The runner's options.
        folder: For reports of the processes.
        signals: Grows with the signals that this process receives.
    """

    def __init__(
        self, loaded: LoadedExperiment, options: Options, folder: Path, signals: list[int]
    ) -> None:
        self.loaded = loaded
        self.options = options
        self.folder = folder
        self.signals = signals

    def run(self) -> dict[str, Any]:
        """Start the processes, again if need be, and return how the run ended.

        Raises:
            UserError: The options do not fit this machine, or name no place to meet.
            TrainerError: The machines cannot meet.
            Interrupted: A signal came before they met.
        """
        of_fsdp = ["trainer_core.distributed.sharding"] if self.options.strategy == "fsdp" else []
        for name in (*_LATE_IMPORTS, *of_fsdp):  # once, and not in every worker
            with suppress(ImportError):
                import_module(name)
        gc.collect()
        gc.freeze()  # what was imported stays: the collections before each fork are short
        handler, address = open_rendezvous(self.options)
        try:  # whatever happens here, the other machines hear of the end
            choose_backend(self.options, _device_type(self.loaded))
            agent = _Agent(self._specification(handler, address), self.folder, self.signals)
            with explained(self.options):
                result = agent.run()
        finally:
            handler.shutdown()
        if result.is_failed():
            return agent.explain()
        outcome: dict[str, Any] = json.loads((self.folder / _RESULT).read_bytes())
        return outcome

    def _specification(self, handler: RendezvousHandler, address: str | None) -> WorkerSpec:
        return WorkerSpec(
            role="rank",
            local_world_size=count_processes(self.loaded, self.options),
            entrypoint=_work,
            args=(self.loaded, self.options, self.folder),
            rdzv_handler=handler,
            max_restarts=self.options.max_restarts,
            monitor_interval=_MONITOR_INTERVAL_S,
            local_addr=address,
        )


class _Agent(LocalElasticAgent):
    def __init__(self, spec: WorkerSpec, folder: Path, signals: list[int]) -> None:
        super().__init__(spec, DefaultLogsSpecs(log_dir=str(folder)), start_method="fork")
        self.spec = spec
        self.folder = folder
        self.signals = signals
        self.told = 0
        self.attempt = -1
        self.exit_codes: dict[int, int | None] = {}

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        """Fork the workers, with nothing in memory that only this process can take apart.

        The store of an earlier attempt ends its thread when it is freed; a fork has no such thread
        and would wait for it for ever, at any collection of garbage.
        """
        gc.collect()
        started: dict[int, Any] = super()._start_workers(worker_group)
        return started

    def _rendezvous(self, worker_group: WorkerGroup) -> None:
        """Meet the other machines, and agree on how often that was."""
        meet = super()._rendezvous
        self.attempt += 1
        if isinstance(self.spec.rdzv_handler, OneMachine):
            meet(worker_group)
        else:
            within(None, lambda: meet(worker_group), signals=self.signals)
            self.attempt = _told_by_first(worker_group, self.attempt)
        os.environ[_ATTEMPT] = str(self.attempt)

    def _exit_barrier(self) -> None:
        """Wait for the other machines, which use our store; those that failed never come."""
        store: Any = self._store
        handler = self.spec.rdzv_handler
        count: Any = self._worker_group.group_world_size
        if count == 1:
            return
        deadline = time.monotonic() + _LONGEST_END_S
        with suppress(RuntimeError, RendezvousError):  # the machine of the store is gone
            store.add(_ENDED, 1)
            while store.add(_ENDED, 0) < count and not handler.is_closed():
                if time.monotonic() > deadline:
                    return
                time.sleep(_MONITOR_INTERVAL_S)

    def _monitor_workers(self, worker_group: WorkerGroup) -> GroupResult:
        self._forward_signals()
        result: GroupResult = super()._monitor_workers(worker_group)
        if result.state in {WorkerState.FAILED, WorkerState.UNHEALTHY}:
            self._note_exit_codes()
            self.failed_attempt = self.attempt
            if self.signals or any(is_final(report) for report in self._reports().values()):
                self._remaining_restarts = 0
            if self._remaining_restarts:
                self._announce_restart()
        return result

    def _announce_restart(self) -> None:
        """Say whose fault it is that all start again."""
        outcome = self.explain()
        rank, allowed = outcome["rank"], self.spec.max_restarts
        who = "" if rank is None else f"rank {rank}: "
        what = outcome["error"]["message"].partition("\n")[0]
        which = allowed - self._remaining_restarts + 1
        _log.warning("%s%s; all start again, restart %d of %d", who, what, which, allowed)

    def _forward_signals(self) -> None:
        """Tell the workers, once all of them can save and leave; a second signal tells at once."""
        has_begun = (self.folder / f"begun-{self.attempt}").exists()
        while self.told < len(self.signals) and (has_begun or len(self.signals) > 1):
            for pid in self._pcontext.pids().values() if self._pcontext else ():
                with suppress(ProcessLookupError):
                    os.kill(pid, self.signals[self.told] if has_begun else signal.SIGKILL)
            self.told += 1

    def _note_exit_codes(self) -> None:
        processes = self._pcontext._pc.processes  # type: ignore[union-attr] # noqa: SLF001 - not told otherwise
        for worker, process in zip(self._worker_group.workers, processes, strict=True):
            self.exit_codes[worker.global_rank] = process.exitcode

    def _reports(self) -> dict[int, dict[str, Any]]:
        found = {}
        for worker in self._worker_group.workers:
            file = self.folder / f"report-{self.failed_attempt}-{worker.global_rank}.json"
            with suppress(OSError, ValueError):
                found[worker.global_rank] = json.loads(file.read_bytes())
        return found

    def explain(self) -> dict[str, Any]:
        """Return the error that ended the run, and whose it was."""
        reports = self._reports()
        final = {
            rank: report
            for rank, report in reports.items()
            if is_final(report) and not report["is_echo"]
        }
        if final:
            rank = min(final)
            texts = {report["message"] for report in final.values()}
            is_of_all = len(final) == len(self._worker_group.workers) and len(texts) == 1
            return {"error": final[rank], "rank": None if is_of_all else rank}
        own = {
            rank: report
            for rank, report in reports.items()
            if not (report["is_echo"] or report.get("is_peer_lost"))
        }
        if own:
            rank = min(own)
            return {"error": self._with_restarts(own[rank]), "rank": rank}
        echoes = [report for report in reports.values() if report["is_echo"]]
        if echoes:  # of a rank on another machine
            return {"error": echoes[0], "rank": None}
        return self._explain_exit(reports)

    def _explain_exit(self, reports: dict[int, dict[str, Any]]) -> dict[str, Any]:
        silent = {r: code for r, code in self.exit_codes.items() if r not in reports and code}
        # Those that the agent itself ended come last.
        order = sorted(silent, key=lambda rank: (silent[rank] == -signal.SIGTERM, rank))
        if not order:
            rank = min(reports)
            return {"error": self._with_restarts(reports[rank]), "rank": rank}
        code = silent[order[0]]
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        error = {"kind": "TrainerError", "message": f"the process was {how}", "exit_code": 1}
        if code > 0:
            error["message"] = f"the process {how}"
        return {"error": self._with_restarts(error), "rank": order[0]}

    def _with_restarts(self, report: dict[str, Any]) -> dict[str, Any]:
        times = self.failed_attempt
        if not times:
            return report
        said = "after 1 restart" if times == 1 else f"after {times} restarts"
        return {**report, "message": f"{report['message']} ({said})"}


def count_processes(loaded: LoadedExperiment, options: Options) -> int:
    """Return how many processes there are on this machine.

    Raises:
        UserError: There are more than devices.
    """
    is_cuda = _device_type(loaded) == "cuda"
    devices = torch.cuda.device_count() if is_cuda else 1
    if options.nproc_per_node == "auto":
        return max(1, devices)
    count = int(options.nproc_per_node)
    if is_cuda and count > devices:
        msg = (
            f"runner ddp: nproc_per_node is {count} and this machine has {devices} CUDA devices; "
            f"use at most {devices}, or run.device=cpu"
        )
        raise UserError(msg)
    return count


def _device_type(loaded: LoadedExperiment) -> str:
    name = loaded.config.run.device
    if name == "auto":
        return "cuda" if torch.cuda.device_count() else "cpu"
    return name.partition(":")[0]


def _told_by_first(worker_group: Any, own: int) -> int:
    """Return the first machine's number; an agent that was itself started again has a lower."""
    store = worker_group.store
    if worker_group.group_rank == 0:
        store.set(_ATTEMPT, str(own))
    return int(store.get(_ATTEMPT))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _work(loaded: LoadedExperiment, options: Options, folder: Path) -> None:
    """Be one rank: the entry point of a worker."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # until there is something to save, leave at once
    agent = os.getppid()
    found = find_place(os.environ)
    assert found is not None
    place = replace(found, attempt=int(os.environ[_ATTEMPT]))
    if place.rank:
        _redirect_output(folder / f"rank-{place.rank}.log")
    faulthandler.enable()
    begun = folder / f"begun-{place.attempt}"
    out_dir = Path(loaded.config.run.out_dir)

    def begin() -> None:
        if place.rank:
            _redirect_output(out_dir / "logs" / f"rank-{place.rank}.log")
        begun.touch()

    try:
        resume = loaded.config.run.resume
        if place.attempt:
            has_begun = any(folder.glob("begun-*"))
            resume = resume_after_restart(resume, out_dir, has_begun=has_begun)
        result = run_rank(loaded, place, options, resume=resume, on_begin=begin)
    except BaseException as error:  # noqa: BLE001 - the report is all that others learn of it
        _leave(error, place, folder, out_dir)
    if place.local_rank == 0:
        said = {**asdict(result), "rank": place.rank, "out_dir": str(out_dir)}
        with suppress(FileNotFoundError):  # the launcher is gone, and its folder
            _write_whole(folder / _RESULT, {"result": said})
    if os.getppid() != agent:
        os._exit(0)  # the agent is gone, and torch would wait for it


def _leave(error: BaseException, place: Place, folder: Path, out_dir: Path) -> NoReturn:
    """Report an error and end this process without waiting for anyone."""
    report = describe(error)
    _write_whole(folder / f"report-{place.attempt}-{place.rank}.json", report)
    if not is_final(report) and (out_dir / "logs").is_dir():
        with suppress(OSError), (out_dir / "logs" / f"rank-{place.rank}.log").open("a") as log:
            traceback.print_exception(error, file=log)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(report["exit_code"])


def _write_whole(file: Path, data: Any) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(data, default=str))
    temporary.replace(file)


def _redirect_output(file: Path) -> None:
    """Send what this process prints to a file; without one, nowhere."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError:
        target = os.open(os.devnull, os.O_WRONLY)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
