"""What a run says of the disk of its replay buffer, and of episodes that it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer_ray.online.complaints import Complaints

if TYPE_CHECKING:
    import pytest

NO_PLACE = "cannot write /data/replay/segment-000000001.replay: No space left on device"


def test_damage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    for lost in ([], ["a", "b"], ["a", "b"], ["a", "b", "c"]):
        complaints.hear({"lost": lost})
    assert [record.getMessage() for record in caplog.records] == [
        "damage in the replay buffer's files, left out: a, and 1 more",
        "damage in the replay buffer's files, left out: c",
    ]


def test_a_disk_that_refuses_is_told_once_until_it_takes_something(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints = Complaints()
    for error in ("", NO_PLACE, NO_PLACE, "", NO_PLACE):
        complaints.hear({"disk_error": error})
    message = (
        f"the replay buffer takes no episodes, which are sent again: {NO_PLACE}; the training goes "
        "on with those that are there"
    )
    assert [record.getMessage() for record in caplog.records] == [message] * 2


def test_the_first_refused_episode_is_told(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    for reason in ("", "arm: it has no steps", "rollout-0: the producer says: it broke"):
        complaints.hear({"refusal": reason})
    assert [record.getMessage() for record in caplog.records] == [
        "the replay buffer refused an episode of arm: it has no steps; online/refused counts them"
    ]
