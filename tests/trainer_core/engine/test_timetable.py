from __future__ import annotations

import time

from trainer_core.engine.timetable import Timetable
from trainer_core.ranks import LocalRanks


def test_actions_come_at_their_steps_in_order() -> None:
    table, calls = Timetable(), []
    table.every_steps(2, lambda: calls.append("save"), table.SAVE)
    table.every_steps(3, lambda: calls.append("log"), table.LOG)
    table.start(0, 7)
    due = []
    for step in range(1, 8):
        if step >= table.next_step:
            due.append(step)
            table.run_due(step, 7, LocalRanks())
    assert due == [2, 3, 4, 6, 7]
    assert calls == ["save", "log", "save", "log", "save"]


def test_resumed_table_keeps_the_steps() -> None:
    table = Timetable()
    table.every_steps(5, lambda: None)
    table.start(7, 100)
    assert table.next_step == 10


def test_timer_is_due_after_its_period() -> None:
    table, calls = Timetable(), []
    table.every_seconds(0.0, lambda: calls.append("now"))
    table.every_seconds(1e6, lambda: calls.append("later"))
    table.start(0, 9)
    assert table.next_time <= time.perf_counter()
    table.run_due(1, 9, LocalRanks())
    assert calls == ["now"]


def test_wake_makes_the_loop_look_at_once() -> None:
    table = Timetable()
    table.start(0, 9)
    table.wake()
    assert table.next_time < time.perf_counter()
    table.run_due(1, 9, LocalRanks())
    assert table.next_time > time.perf_counter()
