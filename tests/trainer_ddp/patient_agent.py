"""Runs one job after the other, as the agent of a run does its only one: torch comes up once.

Reads the folder of a job from each line of standard input; `job.json` is in it, and
`outcome.json` will be. Before each job it leaves a store behind that nobody can reach, as an
attempt that failed does: a fork that frees it would wait for a thread that it does not have.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined] # not in its __all__

from trainer_ddp.agent import perform


def litter() -> None:
    """Leave a store in a cycle, for the next collection of garbage."""
    cycle: list[Any] = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)]
    cycle.append(cycle)


gc.disable()  # the litter is there when a rank is forked, and the rank comes across it at once
gc.set_threshold(200, 2, 2)
os.register_at_fork(after_in_child=gc.enable)
for line in sys.stdin:
    folder = Path(line.rstrip("\n"))
    litter()
    outcome = perform(json.loads((folder / "job.json").read_bytes()), [])
    written = folder / "outcome.part"
    written.write_text(json.dumps(outcome, default=str))
    written.replace(folder / "outcome.json")
