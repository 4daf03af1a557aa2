"""A buffer that is cut off, or refused by its disk, at each of its operations."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from benchmarks.faults.disk import Operation, cut_off, watch_disk
from benchmarks.faults.forks import run_forked
from benchmarks.faults.replay import (
    ADDS,
    PRODUCER,
    adds_of,
    content_problem,
    kept_by,
    open_buffer,
    problem,
    work,
)

from trainer_core.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from trainer_ray.online.replay_buffer import ReplayBuffer


class _Killed(BaseException):
    """Nothing reaches the disk from here on."""


def _operations(folder: Path) -> list[Operation]:
    seen: list[Operation] = []
    with watch_disk(folder, seen.append):
        work(folder)
    return seen


def _end() -> None:
    raise _Killed


def _cut_off(folder: Path, number: int) -> int:
    """Work until an operation, half of it if it is a write; return what was acknowledged."""
    acknowledged = [-1]
    opened: list[ReplayBuffer] = []
    with watch_disk(folder, cut_off(number, _end)), suppress(_Killed):
        work(folder, acknowledged.append, opened)
    for buffer in opened:
        buffer.close()
    return acknowledged[-1]


def test_cut_off_at_any_operation_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    folder.mkdir()
    operations = _operations(folder)
    assert {"create", "write", "fsync", "unlink"} <= {each.kind for each in operations}
    for number in range(len(operations)):
        shutil.rmtree(folder)
        folder.mkdir()
        acknowledged = _cut_off(folder, number)
        assert problem(folder, acknowledged) == "", operations[number]


def test_a_disk_that_refuses_once_costs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    folder.mkdir()
    for number in range(0, len(_operations(folder)), 2):
        shutil.rmtree(folder)
        folder.mkdir()
        count = 0

        def refuse(operation: Operation) -> int | None:
            nonlocal count
            count += 1
            if count == number + 1:  # noqa: B023 - called within this turn
                code = errno.ENOSPC if number % 4 else errno.EIO  # noqa: B023 - as above
                raise OSError(code, os.strerror(code), operation.path)
            return None

        with watch_disk(folder, refuse), suppress(StorageError):
            work(folder)
        assert problem(folder, ADDS - 1 if count > number + 1 else -1) == ""


def test_a_full_disk_is_told_and_earlier_and_later_adds_are_whole(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    buffer = open_buffer(folder)
    buffer.add(PRODUCER, 0, adds_of(0))

    def refuse(operation: Operation) -> int | None:
        if operation.kind == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), operation.path)
        return None

    with watch_disk(folder, refuse), pytest.raises(StorageError) as caught:
        buffer.add(PRODUCER, 1, adds_of(1))
    path = folder / "segment-000000001.replay"
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert content_problem(buffer, kept_by([0])) == ""
    assert buffer.describe()["disk_error"] == str(caught.value)
    buffer.add(PRODUCER, 1, adds_of(1))
    assert content_problem(buffer, kept_by([0, 1])) == ""
    assert buffer.describe()["disk_error"] == ""
    buffer.close()


def test_a_file_that_the_system_lets_grow_no_further_is_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "replay"

    def live() -> int:
        buffer = open_buffer(folder)
        buffer.add(PRODUCER, 0, adds_of(0))
        before = (folder / "segment-000000001.replay").stat().st_size
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (before + 100, unlimited[1]))
        with suppress(StorageError):
            buffer.add(PRODUCER, 1, adds_of(1))
            return 1
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        whole = (folder / "segment-000000001.replay").stat().st_size == before
        buffer.add(PRODUCER, 1, adds_of(1))
        return 0 if whole and not content_problem(buffer, kept_by([0, 1])) else 2

    assert run_forked(live, tmp_path / "log.txt") == 0, (tmp_path / "log.txt").read_text()
    assert problem(folder, 1) == ""


def test_what_a_broken_disk_kept_after_all_is_not_doubled(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    buffer = open_buffer(folder)
    buffer.add(PRODUCER, 0, adds_of(0))

    def refuse(operation: Operation) -> int | None:
        if operation.kind in {"fsync", "truncate"}:  # written, then neither flushed nor taken back
            raise OSError(errno.EIO, os.strerror(errno.EIO), operation.path)
        return None

    with watch_disk(folder, refuse), pytest.raises(StorageError):
        buffer.add(PRODUCER, 1, adds_of(1))
    buffer.add(PRODUCER, 1, adds_of(1))
    assert len(list(folder.glob("segment-*"))) == 2
    buffer.close()
    again = open_buffer(folder)
    assert content_problem(again, kept_by([0, 1])) == ""
    again.close()
