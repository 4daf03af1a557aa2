"""What a driver hears from its workers between two of its glances."""

from __future__ import annotations

from trainer_ray.mailbox import Mailbox


def test_the_newest_value_of_every_metric_is_told() -> None:
    mailbox = Mailbox()
    mailbox.wish({"step": 2, "total_steps": 9, "metrics": {"loss": 0.5, "val/loss": 0.7}})
    mailbox.wish({"step": 4, "total_steps": 9, "metrics": {"loss": 0.4}})
    mailbox.wish(None)  # of another rank
    told = {"step": 4, "total_steps": 9, "metrics": {"loss": 0.4, "val/loss": 0.7}}
    assert mailbox.news()["progress"] == told


def test_a_wish_is_heard_with_the_next_question() -> None:
    mailbox = Mailbox()
    assert mailbox.wish() == ""
    mailbox.ask_to_stop("SIGTERM")
    assert mailbox.wish({"step": 1, "total_steps": 9, "metrics": {}}) == "SIGTERM"


def test_lines_are_told_once() -> None:
    mailbox = Mailbox()
    mailbox.write("stderr", "warning: hot\n")
    assert mailbox.news()["lines"] == [("stderr", "warning: hot\n")]
    assert mailbox.news()["lines"] == []
