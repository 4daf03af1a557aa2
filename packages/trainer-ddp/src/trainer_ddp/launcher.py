"""Starts the processes of a run on this machine and waits for how they end. Imports no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_core.distributed.reports import rebuild
from trainer_core.errors import TrainerError
from trainer_core.results import RunResult
from trainer_core.storage import to_json_text, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ddp.options import Options

__all__ = ["OUTCOME", "describe_job", "launch"]

OUTCOME = "outcome.json"
"""Where the agent writes how the run ended, in the folder that it was given."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def launch(loaded: LoadedExperiment, options: Options) -> RunResult:
    """Run an experiment in processes of this machine.

    An agent of its own session starts and watches them: a Ctrl-C reaches it through this process
    alone, and it ends them when this process is gone.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        TrainerError: The run failed; the message names the rank.
        SystemExit: A second signal ended the run at once.
    """
    with tempfile.TemporaryDirectory(prefix="trainer-ddp-") as folder:
        job = describe_job(loaded, options, Path(folder))
        agent = subprocess.Popen(
            [sys.executable, "-m", "trainer_ddp.agent"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        assert agent.stdin is not None
        with _forwarded_signals(agent) as received:
            # What is written stays open: its end tells the agent that this process is gone.
            with suppress(BrokenPipeError):
                agent.stdin.write(json.dumps(job).encode() + b"\n")
                agent.stdin.flush()
            code = agent.wait()
            with suppress(BrokenPipeError):
                agent.stdin.close()
        outcome = _read(Path(folder) / OUTCOME)
    if outcome is None and len(received) > 1:
        raise SystemExit(128 + received[-1])
    if outcome is None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        msg = f"the process that watches the ranks ended with {how}"
        outcome = {"error": {"kind": "TrainerError", "message": msg, "exit_code": 1}}
    if "error" in outcome:
        error = rebuild(outcome["error"], rank=outcome.get("rank"))
        _correct_summary(Path(loaded.config.run.out_dir), str(error))
        raise error
    result = outcome["result"]
    return RunResult(**{**result, "out_dir": Path(result["out_dir"])})


def describe_job(loaded: LoadedExperiment, options: Options, folder: Path) -> dict[str, Any]:
    """Return what makes the agent load the same experiment and run it, as JSON data."""
    is_file = loaded.source != "<python>"
    chosen = loaded.resolved.node("runner", "_type_")
    return {
        "config": loaded.source if is_file else loaded.resolved.data,
        "overrides": list(loaded.overrides) if is_file else [],
        "runner": None if chosen is None else chosen.value,
        "hooks": is_file,
        "dry_run": loaded.dry_run,
        "path": sys.path,
        "options": options.to_json(),
        "folder": str(folder),
    }


@contextmanager
def _forwarded_signals(agent: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Hand signals on to the agent; outside of the main thread none can be caught."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def forward(number: int, frame: Any) -> None:
        del frame
        received.append(number)
        with suppress(ProcessLookupError):
            os.kill(agent.pid, number)

    previous = {number: signal.signal(number, forward) for number in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        outcome: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return outcome


def _correct_summary(out_dir: Path, error: str) -> None:
    """Let `summary.json` name the cause: rank 0 may be dead, or know only that a rank is gone."""
    file = out_dir / "summary.json"
    summary = _read(file)
    if summary is None or summary.get("status") == "completed":
        return
    with suppress(TrainerError):
        write_atomically(file, to_json_text({**summary, "status": "failed", "error": error}))
