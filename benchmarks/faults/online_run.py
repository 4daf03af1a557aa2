"""A run that learns online, whose processes are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.faults.forks import descendants

from trainer_core.checkpoint.layout import list_steps
from trainer_ray.online.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KINDS", "OnlineRun"]

KINDS = {
    "buffer": "ray::BufferActor",
    "manager": "ray::PolicyStateManager",
    "rollout": "ray::RolloutHost",
    "driver": "",
}
"""What is killed, and how Ray titles its process."""

_WHEEL = Path(__file__).parents[2] / "tests" / "trainer_ray" / "online" / "wheel"
_KEYS: dict[str, dict[str, Any]] = {
    "index": {"shape": [], "dtype": "int64", "offsets": None},
    "number": {"shape": [], "dtype": "int64", "offsets": None},
    "x": {"shape": [3], "dtype": "float32", "offsets": None},
    "y": {"shape": [2], "dtype": "float32", "offsets": [0, 1]},
}
_FRAMES = 8  # of an episode of the toy
_SLOWEST_S = 120.0
_LINGER_S = 20.0  # Ray's own end a moment after their driver
_PAUSE_S = 0.05
_STEP_S = 0.01  # at least: no life must end by itself
_INTERRUPTED = 75


class OnlineRun:
    """The run, whose driver may have several lives.

    Args:
        folder: An empty folder to work in.
        options: Of the runner; without an `address` the run has a cluster of its own.
        find: Returns the processes of a kind; None: looks among the descendants of the driver,
            which have to end with it.
    """

    def __init__(
        self,
        folder: Path,
        options: dict[str, Any] | None = None,
        find: Callable[[str], list[int]] | None = None,
    ) -> None:
        self.out_dir = folder / "run"
        self._log = folder / "log.txt"
        self._config = folder / "online.json"
        self._config.write_text(json.dumps(_experiment(self.out_dir, options or {})))
        self._find = find or self._find_descendants
        self._process: subprocess.Popen[bytes] | None = None
        self._committed = 0

    def start(self) -> None:
        """Start a life of the driver; return when it trains and its workers play."""
        command = [sys.executable, "-m", "trainer_core", "run", str(self._config)]
        environment = {**os.environ, "PYTHONPATH": str(_WHEEL), "OMP_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.wait_for_progress()

    def kill(self, *kinds: str) -> str:
        """Kill a process of each kind and see the run go on; return what did not hold."""
        assert self._process is not None
        self._committed = max(self._committed, self._newest_step())
        if kinds == ("driver",):
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(_SLOWEST_S)
            self.start()
            newest = self._newest_step()
            lost = newest < self._committed
            return f"step {self._committed} was committed, {newest} is the newest" if lost else ""
        try:
            for kind in kinds:
                self._wait(lambda kind=kind: bool(self._find(kind)))  # type: ignore[misc] # bound here
                os.kill(self._find(kind)[0], signal.SIGKILL)
            self.wait_for_progress()
        except TimeoutError as error:
            return str(error)
        return ""

    def wait_for_progress(self) -> None:
        """Wait until there are further log lines and acknowledged episodes.

        Raises:
            TimeoutError: There are none.
        """
        lines, episodes = self._lines(), len(self.acknowledged())
        self._wait(lambda: self._lines() > lines and len(self.acknowledged()) > episodes)

    def stop(self) -> str:
        """Interrupt the run; return what did not hold of its end and of its episodes.

        Each process that ended was told of in a line; of Ray's own words there is none.
        """
        assert self._process is not None
        processes = descendants(self._process.pid)
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(_SLOWEST_S)
        if code != _INTERRUPTED:
            return f"it ended with {code}: {self._tail()}"
        if left := _left_of(processes):
            return f"it left processes behind: {left}"
        summary = json.loads((self.out_dir / "summary.json").read_text())
        if summary["step"] != self._newest_step():
            return f"it ended at step {summary['step']} and saved {self._newest_step()}"
        if b"(raylet)" in self._log.read_bytes():
            return "Ray's own words are among the output"
        return self.episodes_problem()

    def end(self) -> None:
        """End what still runs."""
        if self._process is not None and self._process.poll() is None:
            for pid in (self._process.pid, *descendants(self._process.pid)):
                os.kill(pid, signal.SIGKILL)
            self._process.wait(_SLOWEST_S)

    def acknowledged(self) -> list[int]:
        """Return the numbers of the episodes of which the player knows that they are kept."""
        file = self.out_dir / "rollouts" / "rollout-0" / "acknowledged"
        text = file.read_text() if file.exists() else ""
        return [int(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def episodes_problem(self) -> str:
        """Return which acknowledged episodes are lost or doubled; empty if none is."""
        buffer = ReplayBuffer(str(self.out_dir / "replay"), _KEYS, capacity=1_000_000, keep="all")
        try:
            frames = int(buffer.describe()["frames"])
            numbers = _numbers(buffer, frames)
        finally:
            buffer.close()
        kept, counts = np.unique(numbers, return_counts=True)
        lost = sorted(set(self.acknowledged()) - set(kept.tolist()))
        if lost:
            return f"{len(lost)} acknowledged episodes are lost, {lost[0]} the first"
        if (counts != _FRAMES).any():
            return f"episode {kept[counts != _FRAMES][0]} is not there exactly once"
        return ""

    def _find_descendants(self, kind: str) -> list[int]:
        """Return the processes of a kind: one, or none while it is started again."""
        assert self._process is not None
        return [pid for pid in descendants(self._process.pid) if _title(pid, KINDS[kind])]

    def _newest_step(self) -> int:
        steps = list_steps(self.out_dir / "checkpoints")
        return steps[0][0] if steps else 0

    def _lines(self) -> int:
        file = self.out_dir / "metrics.jsonl"
        return len(file.read_bytes().splitlines()) if file.exists() else 0

    def _wait(self, condition: Callable[[], bool]) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _SLOWEST_S
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                message = f"the run does not go on ({self._process.poll()}): {self._tail()}"
                raise TimeoutError(message)
            time.sleep(_PAUSE_S)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-600:]


def _title(pid: int, title: str) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().startswith(title)
    except OSError:
        return False


def _left_of(processes: list[int]) -> list[int]:
    """Return which processes do not end."""
    deadline = time.monotonic() + _LINGER_S
    left = processes
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if _title(pid, "") and not _is_zombie(pid)]
        time.sleep(_PAUSE_S)
    return left


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _numbers(buffer: ReplayBuffer, frames: int) -> Any:
    """Return the episode's number of every frame in a buffer."""
    rows = buffer._ring.rows(np.arange(frames))  # noqa: SLF001 - a sample would be a random part
    return buffer._ring.arrays["number"][rows]  # noqa: SLF001 - the same


def _experiment(out_dir: Path, options: dict[str, Any]) -> dict[str, Any]:
    layers = [{"_type_": "nn.Linear", "in_features": 3, "out_features": 2}]
    runner = {"_type_": "ray_online", "min_frames": 8, "publish_every": 5, "keep": "all"}
    return {
        "schema_version": 1,
        "run": {"name": "online", "out_dir": str(out_dir), "device": "cpu", "resume": "auto"},
        "runner": {**runner, "rollout": {"pause_s": 0.05}, **options},
        "model": {"sequential": {"layers": layers}},
        "data": {"_type_": "toy", "batch_size": 8, "slow_s": _STEP_S},
        "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["first"]}},
        "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
        "optimizer": {"_type_": "torch", "type": "AdamW", "kwargs": {"lr": 0.001}},
        "trainer": {"_type_": "default", "max_steps": 1_000_000, "log_every_n_steps": 20},
        "evaluation": {"_type_": "toy"},
        "callbacks": [{"_type_": "model_checkpoint", "every_n_steps": 20}],
        "loggers": [{"_type_": "jsonl"}],
    }
