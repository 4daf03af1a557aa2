"""One write at a time; what goes wrong in it is heard."""

from __future__ import annotations

import threading

import pytest

from trainer_core.checkpoint.background import BackgroundWriter


def test_second_piece_of_work_waits_for_the_first() -> None:
    release, order = threading.Event(), []
    writer = BackgroundWriter(on_error=lambda: None)

    def first() -> None:
        release.wait(10)
        order.append(1)

    writer.start(first)
    assert writer.is_busy
    threading.Timer(0.05, release.set).start()
    writer.start(lambda: order.append(2))
    writer.join()
    assert order == [1, 2]
    assert not writer.is_busy


def test_error_is_announced_and_raised_once() -> None:
    told = threading.Event()
    writer = BackgroundWriter(on_error=told.set)

    def fail() -> None:
        msg = "no"
        raise RuntimeError(msg)

    writer.start(fail)
    assert told.wait(10)
    with pytest.raises(RuntimeError, match="no"):
        writer.join()
    writer.join()


def test_threads_do_not_pile_up() -> None:
    before = threading.active_count()
    writer = BackgroundWriter(on_error=lambda: None)
    for _ in range(50):
        writer.start(lambda: None)
    writer.join()
    assert threading.active_count() == before
