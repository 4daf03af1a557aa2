"""Runs one job after the other, as the agent of a run does its only one: torch comes up once.

Reads the folder of a job from each line of standard input; `job.json` is in it, and
`outcome.json` will be.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from trainer_ddp.agent import perform

for line in sys.stdin:
    folder = Path(line.rstrip("\n"))
    outcome = perform(json.loads((folder / "job.json").read_bytes()), [])
    written = folder / "outcome.part"
    written.write_text(json.dumps(outcome, default=str))
    written.replace(folder / "outcome.json")
