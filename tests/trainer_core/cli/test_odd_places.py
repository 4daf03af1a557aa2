"""Files that are none, streams that are closed or full, values that no option means."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer_core.cli import main

Capture = pytest.CaptureFixture[str]
COMMAND = [sys.executable, "-c", "import sys; from trainer_core.cli import main; sys.exit(main())"]


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    """Return the name of a pipe that nobody writes into: reading it would never end."""
    os.mkfifo(tmp_path / "pipe.yaml")
    return str(tmp_path / "pipe.yaml")


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["config", "migrate"], "cannot read {pipe}: it is not a file"),
        (["config", "schema", "--output"], "cannot write {pipe}: it is not a file"),
        (["plugins", "list", "--wheel"], "'{pipe}' is not a wheel: it is not a file"),
    ],
)
def test_pipe_is_no_file(words: list[str], refusal: str, pipe: str, capsys: Capture) -> None:
    assert main([*words, pipe]) == 2
    assert capsys.readouterr().err == f"error: {refusal.format(pipe=pipe)}\n"


def test_schema_does_not_replace_a_folder(tmp_path: Path, capsys: Capture) -> None:
    assert main(["config", "schema", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: cannot write {tmp_path}: it is not a file\n"


@pytest.mark.parametrize("words", [["plugins", "list"], ["config", "recipes"], ["--help"]])
def test_full_disk_is_told_without_a_traceback(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *words],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    message = "error: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_command_without_stdout_is_done() -> None:
    words = [*COMMAND, "plugins", "list"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "soon"])
def test_time_limit_must_be_a_time(text: str, capsys: Capture) -> None:
    assert main(["plugins", "check", f"--timeout={text}"]) == 2
    expected = f"expected seconds, more than 0 and at most a day, found {text}\n"
    assert capsys.readouterr().err.endswith(expected)


def test_argument_that_is_not_utf8_is_refused(capsys: Capture) -> None:
    assert main(["check", "il/reach", "run.name=\udcff"]) == 2
    assert "<cli>:1:1: error: the argument is not UTF-8\n" in capsys.readouterr().err


def test_number_with_thousands_of_digits_is_refused(capsys: Capture) -> None:
    assert main(["check", "il/reach", f"run.seed=0x{'f' * 5000}"]) == 2
    assert "<cli>:1:10: error: the integer has too many digits\n" in capsys.readouterr().err


def test_misspelt_directive_is_known_in_a_component(capsys: Capture) -> None:
    assert main(["check", "il/reach", "loss._mrege_=replace"]) == 2
    assert "has no parameter '_mrege_'; did you mean '_merge_'" in capsys.readouterr().err
