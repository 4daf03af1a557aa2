"""The table of trials that run side by side: what fits, and what a terminal shows."""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.cli.sweep_live import Row, TrialTable, compose_table
from trainer_core.engine.trial_lines import TrialLines
from trainer_core.results import RunResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
NAMES = ["0-lr=1", "1-lr=2"]


def rows(count: int, **changes: Row) -> list[Row]:
    """Return trials that wait, but for those that are given as `n3=`."""
    waiting = [Row(number, {"optimizer.kwargs.lr": f"{number}e-3"}) for number in range(count)]
    for name, row in changes.items():
        waiting[int(name[1:])] = row
    return waiting


def running(number: int, **more: Any) -> Row:
    values = {"optimizer.kwargs.lr": f"{number}e-3"}
    return Row(number, values, "running", step=20, total_steps=100, seconds=7.4, **more)


def test_a_row_for_each_trial_with_its_newest_numbers() -> None:
    done = {"loss": 0.25, "eval/success_rate": 0.5}
    ended = Row(1, {"optimizer.kwargs.lr": "1e-3"}, "completed", 100, 100, done, 61.0)
    table = compose_table(rows(3, n0=running(0, metrics={"loss": 1.5}), n1=ended), 80, 24, 83)
    assert table == [
        "trial  status     lr    step     loss  success  s",
        "0      running    0e-3  20/100   1.5            7",
        "1      completed  1e-3  100/100  0.25  0.5      61",
        "2      waiting    2e-3",
        "3 trials: 1 running, 1 completed, 1 waiting  1:23",
    ]


def test_what_runs_and_what_failed_is_shown_first_where_lines_lack() -> None:
    failed = Row(7, {"optimizer.kwargs.lr": "x"}, "failed", 3, 9)
    table = compose_table(rows(50, n9=running(9), n40=running(40), n7=failed), 80, 7)
    assert [line.split()[0] for line in table[1:-1]] == ["0", "7", "9", "40"]
    assert table[-1] == "50 trials: 2 running, 1 failed, 47 waiting; 46 not shown  0:00"


@pytest.mark.parametrize(
    ("width", "heading"),
    [
        (49, "trial  status     lr    step    loss  val/loss  s"),
        (40, "trial  status     lr    step    loss  s"),
        (28, "trial  status     step    s"),
        (16, "trial  status"),
    ],
)
def test_columns_give_way_where_the_terminal_is_narrow(width: int, heading: str) -> None:
    table = compose_table([running(0, metrics={"loss": 1.0, "val/loss": 2.0})], width, 24)
    assert table[0].rstrip() == heading
    assert max(map(len, table)) <= width


def test_long_values_are_cut() -> None:
    row = Row(0, {"model.dims": f"[{', '.join(['256'] * 9)}]"})
    assert compose_table([row], 80, 24)[1] == "0      waiting    [256, 256, 256, 256, ..."


def records() -> list[dict[str, Any]]:
    base = {"status": "pending", "step": 0, "wall_s": 0.0, "metrics": {}, "evaluation": {}}
    return [{**base, "number": n, "name": NAMES[n], "values": {"lr": str(n + 1)}} for n in range(2)]


def test_the_last_state_stays_and_lines_stand_above() -> None:
    stream = io.StringIO()
    with TrialTable(records(), NAMES, stream, force_terminal=True) as table:
        table.begin(0)
        table.progress(0, 3, 7, {"loss": 0.5})
        table.write(0, "stdout", "step 3/7  loss 0.5\nhello\nstep 3/7  evaluation: n 5\n")
        table.write(0, "stderr", "warning: hot\n")
        table.end(0, RunResult("failed", 3), "the disk is full")
    shown = CODES.sub("", stream.getvalue())
    for line in ("hello", "step 3/7  evaluation: n 5", "warning: hot", "failed: the disk is full"):
        assert f"0-lr=1: {line}\n" in shown
    assert "step 3/7  loss" not in shown
    assert shown.rstrip().splitlines()[-3].split() == ["0", "failed", "1", "3/7", "0.5", "0"]
    assert "\x1b[?25h" in stream.getvalue().partition("waiting")[2]  # the cursor is there


class Gone(io.StringIO):
    """A terminal that hangs up."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "hung up")


def test_a_terminal_that_goes_away_ends_the_table_only() -> None:
    before = sys.stderr
    with TrialTable(records(), NAMES, Gone(), force_terminal=True) as table:
        table.begin(0)
        table.write(0, "stderr", "warning: hot\n")
        table.end(0, RunResult("completed", 7))
    assert sys.stderr is before


def test_silent_trials_are_told_of_now_and_then() -> None:
    stream = io.StringIO()
    lines = TrialLines(NAMES, stream, quiet_s=0)
    lines.begin(1)
    for step in (3, 3, 5):
        lines.progress(1, step, 7, {"loss": 0.5})
    lines.end(1, RunResult("interrupted", 5), "interrupted by SIGINT")
    assert stream.getvalue().splitlines() == [
        f"1-lr=2: {line}"
        for line in ("begun", "step 3/7  loss 0.5", "step 5/7  loss 0.5", "interrupted by SIGINT")
    ]


def test_lines_that_nobody_reads_do_not_end_the_sweep() -> None:
    TrialLines(NAMES, Gone()).begin(0)


def _on_a_terminal(command: list[str], **environment: str) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; return its exit code and what that shows."""
    own, given = pty.openpty()
    termios.tcsetwinsize(given, (24, 100))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=given, env={**os.environ, **environment}
    )
    os.close(given)
    shown = b""
    try:
        while part := os.read(own, 65536):
            shown += part
    except OSError:  # nobody writes to it any more
        pass
    os.close(own)
    process.communicate(timeout=30)
    return process.returncode, shown.decode()


@pytest.mark.parametrize(("kind", "last"), [("telling", "2 trials: 2 completed"), ("grid", "")])
def test_a_terminal_shows_the_table_if_the_runner_tells(
    kind: str, last: str, sweep: Callable[..., int], experiment_file: Path
) -> None:
    assert sweep("--dry-run") == 0  # the fixture's wheel and file are in place
    words = [f"runner={{_type_: {kind}}}", "run.out_dir=out", "--sweep", "seed=range(2)"]
    command = [sys.executable, "-m", "trainer_core.cli", "run", str(experiment_file), *words]
    code, shown = _on_a_terminal(command, TERM="xterm")
    assert code == 0
    lines = CODES.sub("", shown).rstrip().splitlines() or [""]
    assert lines[-1].partition("  ")[0] == last
