"""A save that goes on beside the training costs one copy of the state, and no more."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
import torch
from trainer_core.checkpoint.shadow import Shadow
from trainer_core.checkpoint.writer import Snapshot, begin_checkpoint, commit_checkpoint

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))

def save(step):
    snapshot = Snapshot(step, {"model.net.safetensors": shadow.copy("net", state)})
    commit_checkpoint(begin_checkpoint(root, step), snapshot)

root, shadow = Path(sys.argv[1]), Shadow()
save_small = Snapshot(0, {"model.net.safetensors": {"w": torch.ones(2)}})
commit_checkpoint(begin_checkpoint(root, 0), save_small)
state = {str(i): torch.ones(2**20) for i in range(24)}  # 96 MiB
before = memory("VmRSS")
save(1)
first = memory("VmHWM") - before
save(2)
print(first, memory("VmHWM") - before)
"""


def test_save_needs_one_copy_of_the_state(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    first, later = map(float, done.stdout.split())
    assert 90 < first < 96 * 1.15
    assert later < first + 8
