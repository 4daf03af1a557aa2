from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainer_core.errors import StorageError
from trainer_core.storage import make_folder, temporary_folder, write_atomically, write_new_file


def test_file_is_replaced_in_one_move(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", "old")
    write_atomically(tmp_path / "a.json", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_equal_file_is_left_untouched(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", "same")
    inode = (tmp_path / "a.json").stat().st_ino
    write_atomically(tmp_path / "a.json", "same")
    assert (tmp_path / "a.json").stat().st_ino == inode


def test_refused_replacement_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a.json", "old")

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError) as caught:
        write_atomically(tmp_path / "a.json", "new")
    assert str(caught.value) == f"cannot write {tmp_path}/a.json: No space left on device"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_new_file_is_never_overwritten(tmp_path: Path) -> None:
    entry = write_new_file(tmp_path / "a", b"abc")
    assert entry["bytes"] == 3
    assert entry["sha256"].startswith("ba7816bf")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "a", b"x")


def test_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(StorageError, match="cannot write /proc/no/such: "):
        make_folder(Path("/proc/no/such"))


def test_names_of_made_folders_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr("trainer_core.storage.flush_to_disk", flushed.append)
    make_folder(tmp_path / "run" / "checkpoints")
    make_folder(tmp_path / "run" / "checkpoints")
    assert flushed == [tmp_path / "run", tmp_path]


def test_what_is_not_a_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="pipe: it is not a file"):
        write_atomically(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()


KILLED = """
import os, signal, sys
from pathlib import Path
from trainer_core.storage import temporary_folder

(temporary_folder(Path(sys.argv[1])) / "half").write_text("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folder_of_a_killed_writer_is_swept_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "policy [1]"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False, timeout=60)
    assert killed.returncode < 0
    (left,) = tmp_path.iterdir()
    mine, again = temporary_folder(out), temporary_folder(out)  # this process is at work
    assert set(tmp_path.iterdir()) == {mine, again} - {left}
    assert all(folder.name.startswith(".policy [1].") for folder in (mine, again))
