"""`trainer run` around a runner: what it is given, and the exit code of what it does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from trainer_core.cli import main
from trainer_core.cli.run import _say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
RUNNER = """\
from pathlib import Path
from trainer_core.errors import DatasetError, Interrupted, StorageError
from trainer_core.results import RunResult


class Runner:
    def __init__(self, raises: str = "", status: str = "completed", rank: int = 0, why: str = ""):
        self.raises = raises
        self.status = status
        self.rank = rank
        self.why = why

    def run(self, experiment):
        errors = {
            "dataset": DatasetError("the data set is empty"),
            "storage": StorageError("the disk is full"),
            "interrupted": Interrupted("stopped at step 3"),
            "bug": ZeroDivisionError("division by zero"),
            "ctrl-c": KeyboardInterrupt(),
        }
        if self.raises:
            raise errors[self.raises]
        out_dir = Path(experiment.config.run.out_dir)
        if self.rank == 0:
            print("resume", experiment.config.run.resume, "dry", experiment.dry_run)
            print("allow", *experiment.config.run.allow)
        evaluation = {"success_rate": 0.92, "n": 50, "ci95": [0.812, 0.968]}
        how = {"rank": self.rank, "stop_reason": self.why}
        return RunResult(self.status, 7, {}, evaluation, out_dir, 2.0, **how)
"""
FAKE = ["runner._type_=fake", "run.out_dir=."]


@pytest.fixture
def fake_runner(fake_wheel: Callable[..., Path], experiment_file: Path) -> Path:
    """Install the runner `fake`; return an experiment file."""
    groups = {"trainer_core.runners": {"fake": "acme_runner:Runner"}}
    fake_wheel("acme-runner", groups, {"acme_runner.py": RUNNER})
    return experiment_file


@pytest.mark.parametrize(
    ("status", "code"), [("completed", 0), ("checked", 0), ("interrupted", 75), ("failed", 1)]
)
def test_status_of_a_run_is_its_exit_code(status: str, code: int, fake_runner: Path) -> None:
    assert main(["run", str(fake_runner), *FAKE, f"runner.status={status}"]) == code


def test_rank_0_alone_says_how_a_run_ended(fake_runner: Path, capsys: Capture) -> None:
    changes = [*FAKE, "runner.rank=1", "runner.status=interrupted"]
    assert main(["run", str(fake_runner), *changes]) == 75
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("raises", "code", "message"),
    [
        ("dataset", 2, "error: the data set is empty\n"),
        ("storage", 1, "error: the disk is full\n"),
        ("interrupted", 75, "stopped at step 3\n"),
        ("ctrl-c", 1, "interrupted; nothing new was saved\n"),
    ],
)
def test_known_error_is_one_line(
    raises: str, code: int, message: str, fake_runner: Path, capsys: Capture
) -> None:
    assert main(["run", str(fake_runner), *FAKE, f"runner.raises={raises}"]) == code
    assert capsys.readouterr().err == message


def test_unexpected_error_leaves_its_traceback_in_the_run_folder(
    fake_runner: Path, capsys: Capture
) -> None:
    assert main(["run", str(fake_runner), *FAKE, "runner.raises=bug"]) == 1

    expected = "error: ZeroDivisionError: division by zero\nThe traceback is in traceback.log\n"
    assert capsys.readouterr().err == expected
    assert "acme_runner.py" in (fake_runner.parent / "traceback.log").read_text()


def test_unexpected_error_without_a_folder_shows_its_traceback(
    fake_runner: Path, capsys: Capture
) -> None:
    arguments = ["runner._type_=fake", "run.out_dir=none", "runner.raises=bug"]

    assert main(["run", str(fake_runner), *arguments]) == 1

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "error: ZeroDivisionError: division by zero"


@pytest.mark.parametrize("way", ["option", "environment"])
def test_traceback_of_a_known_error_is_shown_on_request(
    way: str, fake_runner: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["run", str(fake_runner), *FAKE, "runner.raises=dataset"]
    if way == "environment":
        monkeypatch.setenv("TRAINER_TRACEBACK", "1")

    assert main([*arguments, "--traceback"] if way == "option" else arguments) == 2

    assert "Traceback (most recent call last):" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ([], "resume auto dry False"),
        (["--resume", "none"], "resume none dry False"),
        (["--resume", "120"], "resume 120 dry False"),
        (["--resume", "runs/a: b"], "resume runs/a: b dry False"),
        (["--dry-run"], "resume auto dry True"),
    ],
)
def test_runner_sees_the_options(
    options: list[str], seen: str, fake_runner: Path, capsys: Capture
) -> None:
    assert main(["run", *options, str(fake_runner), "--runner", "fake"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == seen


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ([], "allow"),
        (["run.allow=[seed]"], "allow seed"),
        (["--allow", "data,model"], "allow data model"),
        (["run.allow=[seed]", "--allow", "data"], "allow data"),
    ],
)
def test_runner_sees_what_may_differ(
    options: list[str], seen: str, fake_runner: Path, capsys: Capture
) -> None:
    assert main(["run", str(fake_runner), *FAKE, *options]) == 0

    assert capsys.readouterr().out.splitlines()[1] == seen


def test_unknown_name_after_allow_is_refused(fake_runner: Path, capsys: Capture) -> None:
    assert main(["run", str(fake_runner), *FAKE, "--allow", "dta"]) == 2

    assert "'dta'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "command"),
    [([], "the same command"), (["--resume", "none"], "the same command with --resume auto")],
)
def test_interrupted_run_says_how_to_go_on(
    options: list[str], command: str, fake_runner: Path, capsys: Capture
) -> None:
    main(["run", str(fake_runner), *FAKE, "runner.status=interrupted", *options])
    assert f"the state is saved; {command} goes on" in capsys.readouterr().out.splitlines()


def test_summary_has_success_rate_and_interval(fake_runner: Path, capsys: Capture) -> None:
    assert main(["run", str(fake_runner), *FAKE]) == 0

    assert capsys.readouterr().out.splitlines()[2:] == [
        "completed after 7 steps, 2 s",
        "success rate 92.0% of 50 episodes (95% interval 81.2% to 96.8%)",
        "see .",
    ]


def test_summary_says_why_a_run_ended_early(fake_runner: Path, capsys: Capture) -> None:
    assert main(["run", str(fake_runner), *FAKE, "runner.why=it is good enough"]) == 0

    assert "completed after 7 steps, 2 s: it is good enough" in capsys.readouterr().out


def test_hook_selects_the_runner(
    fake_runner: Path, fake_wheel: Callable[..., Path], capsys: Capture
) -> None:
    hook = (
        "from trainer_core import hookimpl\n\n@hookimpl\n"
        "def trainer_select_runner(config):\n    return 'fake'\n"
    )
    fake_wheel("acme-sel", {"trainer_core.hooks": {"s": "acme_sel"}}, {"acme_sel.py": hook})

    assert main(["run", str(fake_runner)]) == 0
    assert capsys.readouterr().out.startswith("resume auto")


def test_broken_runner_wheel_is_named(
    experiment_file: Path, fake_wheel: Callable[..., Path], capsys: Capture
) -> None:
    groups = {"trainer_core.runners": {"broken": "acme_broken:Runner"}}
    source = "class Runner: ...\n1 / 0\n"
    fake_wheel("acme-broken", groups, {"acme_broken.py": source})

    assert main(["run", str(experiment_file), "runner._type_=broken"]) == 2

    assert "runner 'broken' of acme-broken 1.0 cannot be used" in capsys.readouterr().err


def test_wrong_file_is_refused_before_anything_starts(
    experiment_file: Path, capsys: Capture
) -> None:
    assert main(["run", str(experiment_file), "run.seed=x"]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("<cli>:1:10: error: run.seed: expected an integer, found 'x'")
    assert not (experiment_file.parent / "runs").exists()


def test_reader_that_has_left_does_not_change_how_a_run_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as stream, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        _say("completed")


def test_terminal_is_told_what_to_do_next(
    fake_runner: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    (fake_runner.parent / "checkpoints" / "step-000000007").mkdir(parents=True)
    main(["run", str(fake_runner), *FAKE])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("  ") and "eval" not in line] == [
        "  weights   checkpoints/step-000000007",
        "  metrics   metrics.jsonl",
        "  compare   trainer report . OTHER_RUN",
        "  go on     the same command with trainer.max_steps=14",
    ]
