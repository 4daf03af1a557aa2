"""The program of the documentation sends episodes into a real cluster."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainer_ray.cluster import import_ray
from trainer_ray.mailbox import NAMESPACE
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.client import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "send-episodes.md"
LIMIT_S = 90
NAME = "buffer of the robot"  # other tests of the cluster have one of the default's name
KEYS: dict[str, dict[str, Any]] = {
    "action": {"shape": [4], "dtype": "float32", "offsets": [0, 1]},
    "observation.state": {"shape": [7], "dtype": "float32", "offsets": None},
}


@pytest.fixture
def buffer(address: str, tmp_path: Path) -> Iterator[Any]:
    """The buffer that the program finds."""
    ray = import_ray()
    ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    folder = str(tmp_path / "replay")
    actor = start_buffer(folder, KEYS, name=NAME, timeout_s=LIMIT_S, capacity=1000)
    yield actor
    ray.kill(actor, no_restart=True)
    ray.shutdown()


def _run(program: Path, address: str, until: int) -> str:
    command = [sys.executable, str(program), address, str(until)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_robots_program_sends_and_goes_on_after_a_restart(
    address: str, buffer: Any, tmp_path: Path
) -> None:
    found = re.search(r"```python\n(# robot\.py\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    program = tmp_path / "robot.py"
    program.write_text(found[1].replace('("arm-left")', f'("arm-left", name={NAME!r})'))
    assert _run(program, address, 2) == "100 frames in the buffer\n"
    assert _run(program, address, 3) == "150 frames in the buffer\n"
    assert ask(buffer, "last_number", "arm-left", timeout_s=LIMIT_S) == 2
