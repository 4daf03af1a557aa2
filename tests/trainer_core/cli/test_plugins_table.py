from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from trainer_core.cli.plugins_table import table

HEADINGS = ("key", "target", "status")
ROWS = [("l2", "experiments_il.losses:L2Loss", "ok")]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (None, "l2   experiments_il.losses:L2Loss  ok"),
        (80, "l2   experiments_il.losses:L2Loss  ok"),
        (28, "l2   ...osses:L2Loss  ok"),
        (20, "l2   ok"),
    ],
)
def test_table_shortens_or_drops_its_elastic_column(width: int | None, line: str) -> None:
    assert table(HEADINGS, ROWS, width=width, elastic="target").splitlines()[1] == line


def test_list_on_a_narrow_terminal_fits_it() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    command = "from trainer_core.cli import main; main(['plugins', 'list', '--kind', 'log'])"
    subprocess.run([sys.executable, "-c", command], stdout=theirs, check=True)
    lines = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    os.close(theirs)
    assert {"key", "jsonl", "stdout", "wandb"} <= {line.split()[1] for line in lines}
    assert max(map(len, lines)) <= 80


def test_list_in_a_pipe_is_whole() -> None:
    command = [sys.executable, "-m", "trainer_core.cli", "plugins", "list", "--kind", "log"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "trainer_core.loggers.jsonl:JsonlLogger" in done.stdout
