"""One run at a time in a folder, and never locked out by the dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from policy_constructor.errors import ConfigError
from trainer_core.engine.runlock import LOCK, hold_run_folder
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_core.conftest import Train

HOLDER = """
import os, sys, time
from pathlib import Path
from trainer_core.engine.runlock import hold_run_folder
with hold_run_folder(Path(sys.argv[1])):
    child = os.fork()  # as a loader process, which outlives a killed run for a while
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_second_run_is_told_who_is_in_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(UserError) as caught, hold_run_folder(tmp_path):
                pass
            holder.kill()
            holder.wait(10)
            with hold_run_folder(tmp_path):  # the killed run's child lives on
                assert str(os.getpid()) in (tmp_path / LOCK).read_text()
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)
    assert str(caught.value) == (
        f"{tmp_path} is in use by process {holder.pid} on {socket.gethostname()}; wait for it, or "
        "give this run another run.out_dir"
    )
    assert not list(tmp_path.iterdir())


def test_run_inside_a_run_is_refused_and_does_not_open_the_door(tmp_path: Path) -> None:
    with hold_run_folder(tmp_path):
        for _ in range(2):
            with (
                pytest.raises(UserError, match=f"in use by this process \\({os.getpid()}\\)"),
                hold_run_folder(tmp_path),
            ):
                pass


@pytest.mark.parametrize("below", ["", "deeper/run"])
def test_folder_that_is_a_file_is_a_mistake_with_a_place(
    train: Train, tmp_path: Path, below: str
) -> None:
    file = tmp_path / "taken"
    file.write_text("x")
    with pytest.raises(ConfigError, match=f"{file} is a file; a run needs a folder"):
        train(out=f"taken/{below}")
