"""F8: SIGKILL of one of two processes."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.faults import runs
from benchmarks.faults.forks import Child, descendants, fork
from benchmarks.faults.table import RowResult, Tally

from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.reader import newest_valid

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget

TITLE = "a worker of two killed: training again within 5 s, nothing lost"
KILLS = 20
LONGEST_S = 5.0
_PATIENCE_S = 60.0


def run(budget: Budget) -> RowResult:
    """Kill one of the two workers of a run again and again; it starts again by itself."""
    if budget.is_short:
        return RowResult("F8", TITLE, KILLS, absent="in the long form: it needs processes of torch")
    tally, random = Tally("F8", TITLE, KILLS), budget.random()
    runner = {"_type_": "ddp", "nproc_per_node": 2, "max_restarts": KILLS + 5}
    config = runs.small_run(steps=1_000_000, every=200, keep=2, runner=runner)
    config["trainer"]["log_every_n_steps"] = 20
    del config["scheduler"]
    out_dir, log = budget.folder / "run", budget.folder / "log.txt"
    child = fork(partial(_run, config, out_dir), log)
    took_s: list[float] = []
    _wait_for_step(out_dir, child, 400)
    for number in range(budget.count(KILLS)):
        if not budget.has_time() or not child.is_running():
            break
        time.sleep(random.uniform(0, 0.5))
        committed = max((step for step, _ in list_steps(out_dir / "checkpoints")), default=0)
        before = _workers(child)
        victim = random.choice(before)
        began = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        step = _wait_for_restart(out_dir, child, before)
        took_s.append(time.perf_counter() - began)
        problem = "" if step else f"it did not go on: {child.output()[-300:]}"
        if step and step <= committed:
            problem = f"step {committed} was committed, it went on before step {step}"
        if took_s[-1] > LONGEST_S:
            problem = problem or f"it took {took_s[-1]:.1f} s"
        tally.add(problem, f"kill {number}")
        _wait_for_step(out_dir, child, step + 200)
    child.send(signal.SIGTERM)
    code = child.wait()
    if code != 75 or newest_valid(out_dir / "checkpoints") is None:
        tally.add(f"asked to stop, it ended with {code}: {child.output()[-600:]}", "the end")
    median = statistics.median(took_s) if took_s else 0.0
    return tally.result(f"median {median:.1f} s, slowest {max(took_s, default=0):.1f} s")


def _run(config: dict[str, Any], out_dir: Path) -> int:
    from trainer_core.run import EXIT_CODES

    return EXIT_CODES[runs.train(config, out_dir).status]


def _workers(child: Child) -> list[int]:
    """Return the processes that train: those whose parent is a Python of the same command."""
    commands = {pid: _command(pid) for pid in descendants(child.pid)}
    return [
        pid for pid, command in commands.items() if command and _command(_parent(pid)) == command
    ]


def _command(pid: int) -> bytes:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
    return command if b"trainer_ddp" in command else b""


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _logged_step(out_dir: Path) -> int:
    """Return the newest step in the log; 0 while there is none."""
    try:
        lines = (out_dir / "metrics.jsonl").read_text().splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError):
        return 0


def _wait_for_step(out_dir: Path, child: Child, step: int) -> int:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and child.is_running():
        if (found := _logged_step(out_dir)) >= step:
            return found
        time.sleep(0.05)
    return 0


def _wait_for_restart(out_dir: Path, child: Child, before: list[int]) -> int:
    """Wait until other processes log a step; return it, or 0."""
    deadline = time.monotonic() + _PATIENCE_S
    file, size = out_dir / "metrics.jsonl", -1
    while time.monotonic() < deadline and child.is_running():
        now = _workers(child) if size < 0 else []
        if len(now) == len(before) and not set(now) & set(before):
            size = file.stat().st_size
        elif 0 <= size != file.stat().st_size:
            if file.stat().st_size > size:
                return _logged_step(out_dir)
            size = file.stat().st_size  # the log was cut to where it goes on
        time.sleep(0.01)
    return 0
