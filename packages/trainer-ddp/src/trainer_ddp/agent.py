"""`python -m trainer_ddp.agent`: runs torch's elastic agent, whose workers are forks of it.

torch is imported once, here; a worker that is started, or started again, is there at once.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

__all__ = ["main", "perform"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_NOTHING = "SIGQUIT"
"""What torch's agent listens to; it would end the workers on the others, which are ours."""


class Mailbox:
    """Signals that came, and how many of them the workers were told of."""

    def __init__(self) -> None:
        self.received: list[int] = []

    def listen(self) -> None:
        """Receive from now on; the end of standard input counts as SIGTERM."""
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    def watch(self, lifeline: int) -> None:
        """Ask the run to stop when the process that holds the other end of a pipe is gone."""

        def wait() -> None:
            # Not by way of sys.stdin: a fork would inherit its lock, and hang on closing it.
            while os.read(lifeline, 1):
                pass
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, daemon=True).start()

    def _receive(self, number: int, frame: Any) -> None:
        del frame
        self.received.append(number)


def main() -> int:
    """Run the experiment of standard input; return 0, or 1 if it failed."""
    mailbox = Mailbox()
    mailbox.listen()
    job = json.loads(_read_line(sys.stdin.fileno()))
    mailbox.watch(sys.stdin.fileno())
    outcome = perform(job, mailbox.received)
    (Path(job["folder"]) / "outcome.json").write_text(json.dumps(outcome, default=str))
    return int("error" in outcome)


def perform(job: dict[str, Any], signals: list[int]) -> dict[str, Any]:
    """Run an experiment in processes of their own and return how that ended.

    Args:
        job: The experiment, the runner's options and a folder, as the launcher describes them.
        signals: Grows with the signals that this process receives.

    Returns:
        `result`, or `error` and the `rank` whose it is.
    """
    sys.path[:] = job["path"]  # a program may have added to it
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # what matters is raised
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = _NOTHING
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # a fork cannot use CUDA again
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    from trainer_core.distributed.reports import describe  # noqa: PLC0415 - as the others
    from trainer_core.experiment.loading import load_experiment  # noqa: PLC0415 - needs the above
    from trainer_ddp.elastic import Workers  # noqa: PLC0415 - imports torch
    from trainer_ddp.options import Options  # noqa: PLC0415 - as the others

    for name in ("torch.distributed", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        loaded = load_experiment(
            job["config"], job["overrides"], runner=job["runner"], hooks=job["hooks"]
        )
        loaded.dry_run = job["dry_run"]
        return Workers(loaded, Options(**job["options"]), Path(job["folder"]), signals).run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the launcher raises it again
        return {"error": describe(error)}


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(descriptor, 1 << 16)
        if not part:
            break
        line += part
    return line


if __name__ == "__main__":
    sys.exit(main())
