"""LeRobot in its own environment as the other side of a benchmark.

Make one with Python 3.12 and `pip install 'lerobot[dataset]==0.6.1'` (torchcodec needs FFmpeg's
libraries on the system), or with Python 3.11 and

    pip install torch torchcodec datasets accelerate einops draccus av pillow jsonlines deepdiff
    pip install imageio opencv-python-headless packaging
    pip install --no-deps lerobot==0.4.4

and give its interpreter to a benchmark as `--lerobot-python PATH`. Both sides take turns, round by
round; times are CPU time of each process on one thread.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

WORKER = Path(__file__).with_name("lerobot_worker.py")


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--lerobot-python` to a benchmark."""
    parser.add_argument(
        "--lerobot-python", metavar="PATH", help="interpreter of an environment with LeRobot"
    )


class Peer:
    """A process that reads a data set through LeRobot.

    Args:
        python: The interpreter.
        root: The data set.
        offsets: Windows in frames, by key.
        fps: Frames per second of the data set.
        backend: LeRobot's `video_backend`.

    Attributes:
        version: Of LeRobot.
        open_s: CPU seconds that opening took, without imports.

    Raises:
        SystemExit: The interpreter or LeRobot does not start; the message has its last words.
    """

    def __init__(
        self,
        python: str,
        root: Path,
        offsets: Mapping[str, Sequence[int]],
        fps: float,
        backend: str | None = None,
    ) -> None:
        deltas = {key: [offset / fps for offset in each] for key, each in offsets.items()}
        options = {"root": str(root), "delta_timestamps": deltas, "video_backend": backend}
        self._process = start(python, options)
        opened = self._answer()
        self.version: str = opened["version"]
        self.open_s: float = opened["seconds"]

    def read(self, indices: Sequence[int]) -> float:
        """Read some items one by one; return the CPU seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([int(index) for index in indices]) + "\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        return wait_for_answer(self._process)


def write_episodes(
    python: str, root: Path, features: Mapping[str, Any], episodes: int, length: int
) -> tuple[float, str]:
    """Write episodes with LeRobot's own writer; return rows per CPU second and its version."""
    spec = {"root": str(root), "features": features, "episodes": episodes, "length": length}
    answer = wait_for_answer(start(python, {"write": spec}))
    return episodes * length / answer["seconds"], answer["version"]


def start(python: str, options: Mapping[str, Any]) -> subprocess.Popen[str]:
    """Start the worker."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    try:
        return subprocess.Popen(
            [python, str(WORKER), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    except OSError as exc:
        message = f"--lerobot-python: {python}: {exc.strerror}"
        raise SystemExit(message) from exc


def wait_for_answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the worker's next answer."""
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if line.startswith("ANSWER "):
            answer: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
            return answer
    last = process.stderr.read().strip().splitlines()[-1:]
    message = f"--lerobot-python: LeRobot ended: {last[0] if last else 'without a word'}"
    raise SystemExit(message)
