"""Samples that are asked for ahead: order, depth, losses, limits."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.errors import TrainerError
from trainer_ray.online.prefetch import LATER, LOST, Prefetch

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT_S = 10


class Source:
    """Answers at once, but for the numbers that it loses or keeps."""

    def __init__(self, lose: tuple[int, ...] = (), keep: tuple[int, ...] = ()) -> None:
        self.asked: list[int] = []
        self.lose = list(lose)
        self.keep = keep

    def ask(self, number: int) -> int:
        self.asked.append(number)
        return number

    def fetch(self, ticket: int, limit_s: float) -> Mapping[str, Any] | str:
        if ticket in self.lose:
            self.lose.remove(ticket)
            return LOST
        if ticket in self.keep:
            time.sleep(0.01)
            return LATER
        return {"number": ticket}


def take(prefetch: Prefetch[dict[str, Any]], count: int) -> list[int]:
    try:
        return [prefetch.take()["number"] for _ in range(count)]
    finally:
        prefetch.close()


def test_samples_come_in_the_order_of_the_steps() -> None:
    assert take(Prefetch(Source(), dict, first=5), 4) == [5, 6, 7, 8]


def test_a_lost_sample_is_asked_for_again() -> None:
    source = Source(lose=(1, 2))
    assert take(Prefetch(source, dict), 4) == [0, 1, 2, 3]
    assert source.asked.count(1) == source.asked.count(2) == 2


def test_two_samples_are_on_their_way_while_none_is_taken() -> None:
    source = Source(keep=(0,))
    prefetch = Prefetch(source, dict)
    deadline = time.monotonic() + LIMIT_S
    while len(source.asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    prefetch.close()
    assert source.asked == [0, 1]


def test_batches_are_made_in_another_thread() -> None:
    threads: list[int] = []

    def convert(sample: Mapping[str, Any]) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return dict(sample)

    take(Prefetch(Source(), convert), 1)
    assert threading.get_ident() not in threads


def test_waiting_ends_after_its_time() -> None:
    prefetch = Prefetch(Source(keep=(0,)), dict, limit_s=lambda: 0.2)
    with pytest.raises(TrainerError, match=r"^no sample came from the replay buffer for 0.2 s$"):
        take(prefetch, 1)
    assert prefetch.wait_s >= 0.2


def test_what_ends_the_run_ends_the_waiting() -> None:
    def check() -> None:
        message = "nobody plays any more"
        raise TrainerError(message)

    with pytest.raises(TrainerError, match="nobody plays any more"):
        take(Prefetch(Source(keep=(0,)), dict, check=check), 1)


def test_a_batch_that_cannot_be_made_is_an_error_where_it_is_wanted() -> None:
    def convert(sample: Mapping[str, Any]) -> dict[str, Any]:
        raise ValueError(sample)

    with pytest.raises(ValueError, match="number"):
        take(Prefetch(Source(), convert), 1)
