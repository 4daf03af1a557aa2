"""What goes into a replay buffer, what comes out of it, and what a restart leaves of it."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.trainer_ray.online.conftest import KEYS

from trainer_core.errors import UserError
from trainer_ray.online import replay_buffer
from trainer_ray.online.folder_lock import hold_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_ray.online.conftest import MakeEpisode, OpenBuffer

_IN_ONE_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15
)


def test_an_empty_buffer_has_nothing_to_sample(open_buffer: OpenBuffer) -> None:
    assert open_buffer().sample(4, 0) == {"windows": None, "frames": 0}


def test_an_add_says_what_became_of_each_episode(
    open_buffer: OpenBuffer, episode: MakeEpisode
) -> None:
    failed, broken = episode(success=False), episode(error="the arm fell")
    buffer = open_buffer()
    assert buffer.add("arm", 0, [episode(), failed, broken, episode(4)]) == {
        "accepted": 3,
        "kept": 2,
        "refused": [{"episode": 2, "reason": "the producer says: the arm fell"}],
        "repeated": False,
    }
    assert buffer.describe()["refusal"] == "arm: the producer says: the arm fell"


def test_all_episodes_are_kept_where_that_is_asked_for(
    open_buffer: OpenBuffer, episode: MakeEpisode
) -> None:
    answer = open_buffer(keep="all").add("arm", 0, [episode(success=False), episode()])
    assert (answer["accepted"], answer["kept"]) == (2, 2)


def test_a_number_that_was_here_changes_nothing(
    open_buffer: OpenBuffer, episode: MakeEpisode
) -> None:
    buffer = open_buffer()
    buffer.add("arm", 3, [episode()])
    before = buffer.describe()
    for number in (3, 2):
        answer = buffer.add("arm", number, [episode(9)])
        assert answer == {"accepted": 0, "kept": 0, "refused": [], "repeated": True}
    assert buffer.describe() == before
    assert [buffer.last_number(name) for name in ("arm", "other")] == [3, -1]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (("", 0, []), "replay buffer: a producer is a name, not ''"),
        (("arm", -1, []), "replay buffer: the number of an add is 0 or more, not -1"),
        (("arm", True, []), "replay buffer: the number of an add is 0 or more, not True"),
        (("arm", 0, {}), "replay buffer: an add is a list of episodes, not a dict"),
    ],
)
def test_an_add_without_name_number_or_list_is_refused(
    open_buffer: OpenBuffer, sent: tuple[Any, Any, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_buffer().add(*sent)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": "some"}, "replay buffer: keep is successes or all, not 'some'"),
        ({"sampling": "p"}, "replay buffer: sampling is uniform or prioritized, not 'p'"),
        ({"capacity": 0}, "replay buffer: capacity is a number of frames of at least 1, not 0"),
    ],
)
def test_unknown_ways_to_keep_and_sample_are_refused(
    open_buffer: OpenBuffer, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_buffer(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize("sampling", ["uniform", "prioritized"])
def test_windows_repeat_the_edge_of_their_episode(
    open_buffer: OpenBuffer, episode: MakeEpisode, sampling: str
) -> None:
    buffer = open_buffer(sampling=sampling)
    buffer.add("arm", 0, [episode(0, 3), episode(10, 2, version=7)])
    found = buffer.sample(200, 0)
    windows = found["windows"]
    last = np.where(windows["frame"] < 10, 2, 11)
    wanted = windows["frame"][:, None] + np.arange(3)
    assert (windows["action"][..., 0] == np.minimum(wanted, last[:, None])).all()
    assert (windows["action_is_pad"] == (wanted > last[:, None])).all()
    assert (found["versions"] == np.where(windows["frame"] < 10, -1, 7)).all()
    assert set(windows["frame"].tolist()) == {0, 1, 2, 10, 11}
    assert (found["weights"] == 1).all()


def test_a_seed_decides_what_is_sampled(open_buffer: OpenBuffer, episode: MakeEpisode) -> None:
    buffer = open_buffer()
    buffer.add("arm", 0, [episode(0, 50)])
    one, same, other = (buffer.sample(20, seed)["rows"].tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_the_oldest_episodes_go_as_a_whole(open_buffer: OpenBuffer, episode: MakeEpisode) -> None:
    buffer = open_buffer(capacity=10)
    buffer.add("arm", 0, [episode(10 * n, 4) for n in range(4)])
    held = set(buffer.sample(300, 0)["windows"]["frame"].tolist())
    assert held == {20, 21, 22, 23, 30, 31, 32, 33}
    counts = buffer.describe()
    assert [counts[name] for name in ("frames", "episodes", "frames_added", "evicted")] == [
        8,
        2,
        16,
        8,
    ]


def test_a_larger_priority_is_drawn_more_and_weighs_less(
    open_buffer: OpenBuffer, episode: MakeEpisode
) -> None:
    buffer = open_buffer(sampling="prioritized", priority_exponent=1.0)
    buffer.add("arm", 0, [episode(0, 1, priority=1.0), episode(1, 1, priority=3.0)])
    found = buffer.sample(400, 0)
    is_second = found["windows"]["frame"] == 1
    assert is_second.mean() == pytest.approx(0.75, abs=0.01)
    assert found["weights"][~is_second] == pytest.approx(1.0)
    assert found["weights"][is_second] == pytest.approx(1 / 3, abs=1e-5)


def test_new_episodes_get_the_largest_priority_so_far(
    open_buffer: OpenBuffer, episode: MakeEpisode
) -> None:
    buffer = open_buffer(sampling="prioritized", priority_exponent=1.0)
    buffer.add("arm", 0, [episode(0, 1)])
    buffer.set_priorities(buffer.sample(1, 0)["rows"], np.array([9.0]))
    buffer.set_priorities(buffer.sample(1, 0)["rows"], np.array([1.0]))
    buffer.add("arm", 1, [episode(1, 1)])
    share = (buffer.sample(1000, 0)["windows"]["frame"] == 1).mean()
    assert share == pytest.approx(0.9, abs=0.01)


def test_priorities_of_evicted_frames_go_nowhere(
    open_buffer: OpenBuffer, episode: MakeEpisode
) -> None:
    buffer = open_buffer(sampling="prioritized", capacity=4, priority_exponent=1.0)
    buffer.add("arm", 0, [episode(0, 4)])
    rows = buffer.sample(50, 0)["rows"]
    buffer.add("arm", 1, [episode(10, 2), episode(20, 2)])
    buffer.set_priorities(rows, np.full(50, 1000.0))
    frames = buffer.sample(400, 0)["windows"]["frame"]
    assert np.bincount(frames)[[10, 11, 20, 21]].tolist() == [100] * 4


@pytest.mark.parametrize("exponent", [60.0, 1e300])
@pytest.mark.parametrize("priority", [0.0, 3.0, 1e300])
def test_every_frame_is_drawn_whatever_the_exponent_makes_of_priorities(
    open_buffer: OpenBuffer, episode: MakeEpisode, exponent: float, priority: float
) -> None:
    buffer = open_buffer(sampling="prioritized", capacity=4, priority_exponent=exponent)
    for number in range(2):  # the rows of the first one are not there any more
        buffer.add("arm", number, [episode(10 * number, priority=priority)])
    found = buffer.sample(4, 0)
    assert sorted(found["windows"]["frame"].tolist()) == [10, 11, 12, 13]
    assert found["weights"].tolist() == [1.0] * 4


@pytest.mark.parametrize("bad", [-1.0, np.nan])
def test_priorities_are_numbers_of_at_least_zero(
    open_buffer: OpenBuffer, episode: MakeEpisode, bad: float
) -> None:
    buffer = open_buffer(sampling="prioritized")
    buffer.add("arm", 0, [episode()])
    with pytest.raises(UserError) as caught:
        buffer.set_priorities(buffer.sample(2, 0)["rows"], np.array([1.0, bad]))
    assert str(caught.value) == f"a priority is a finite number of at least 0, not {bad}"


def test_a_buffer_opened_again_is_the_same(open_buffer: OpenBuffer, episode: MakeEpisode) -> None:
    buffer = open_buffer(capacity=20, segment_bytes=2000)
    for number in range(12):
        more = {"version": number, "success": number % 3 != 1}
        buffer.add(f"arm {number % 2}", number, [episode(10 * number, 2 + number % 4, **more)])
    before, sample = buffer.describe(), buffer.sample(30, 5)
    buffer = open_buffer(capacity=20, segment_bytes=2000)
    after, again = buffer.describe(), buffer.sample(30, 5)
    assert {**after, "memory_bytes": 0} == {**before, "memory_bytes": 0}
    assert set(again.pop("rows")).isdisjoint(sample.pop("rows"))
    np.testing.assert_equal(again, sample)


def test_priorities_of_episodes_survive_a_restart(
    open_buffer: OpenBuffer, episode: MakeEpisode
) -> None:
    sent = [episode(0, 1, priority=1.0), episode(1, 1, priority=3.0), episode(2, 1)]
    open_buffer(sampling="prioritized", priority_exponent=1.0).add("arm", 0, sent)
    buffer = open_buffer(sampling="prioritized", priority_exponent=1.0)
    drawn = np.bincount(buffer.sample(700, 0)["windows"]["frame"])
    assert drawn.tolist() == pytest.approx([100, 300, 300], abs=1)


@given(st.lists(st.lists(st.integers(1, 9), max_size=3), max_size=12), st.integers(200, 3000))
@_IN_ONE_FOLDER
def test_whatever_came_a_restart_finds_what_was_there(
    open_buffer: OpenBuffer, episode: MakeEpisode, adds: list[list[int]], segment_bytes: int
) -> None:
    buffer = open_buffer(capacity=9, segment_bytes=segment_bytes)
    first = buffer.last_number("arm") + 1
    for number, lengths in enumerate(adds, first):
        sent = [episode(100 * number + 10 * n, steps) for n, steps in enumerate(lengths)]
        buffer.add("arm", number, sent)
    before, sample = buffer.describe(), buffer.sample(40, 0)
    buffer = open_buffer(capacity=9, segment_bytes=segment_bytes)
    after, again = buffer.describe(), buffer.sample(40, 0)
    unlike = ("memory_bytes", "disk_bytes")
    assert {k: v for k, v in after.items() if k not in unlike} == {
        k: v for k, v in before.items() if k not in unlike
    }
    np.testing.assert_equal(again["windows"], sample["windows"])


def test_files_of_evicted_episodes_are_deleted_and_their_producers_remembered(
    open_buffer: OpenBuffer, episode: MakeEpisode, tmp_path: Any
) -> None:
    buffer = open_buffer(capacity=10, segment_bytes=1500)
    buffer.add("early", 41, [episode()])
    for number in range(60):
        buffer.add("arm", number, [episode(10 * number)])
    assert len(list((tmp_path / "replay").glob("segment-*"))) <= 3
    buffer = open_buffer(capacity=10, segment_bytes=1500)
    assert (buffer.last_number("early"), buffer.last_number("arm")) == (41, 59)
    assert buffer.describe()["episodes_added"] == 61


def test_a_smaller_capacity_keeps_the_newest(open_buffer: OpenBuffer, episode: MakeEpisode) -> None:
    open_buffer().add("arm", 0, [episode(10 * n) for n in range(5)])
    buffer = open_buffer(capacity=8)
    assert set(buffer.sample(300, 0)["windows"]["frame"].tolist()) == {
        *range(30, 34),
        *range(40, 44),
    }


def test_an_episode_that_a_smaller_capacity_cannot_hold_is_left_out(
    open_buffer: OpenBuffer, episode: MakeEpisode
) -> None:
    open_buffer().add("arm", 0, [episode(0, 2), episode(10, 5), episode(20, 1)])
    buffer = open_buffer(capacity=4)
    assert set(buffer.sample(300, 0)["windows"]["frame"].tolist()) == {0, 1, 20}
    assert buffer.describe()["evicted"] == 5
    assert set(open_buffer().sample(300, 0)["windows"]["frame"].tolist()) == {
        *(0, 1, 20),
        *range(10, 15),
    }


def test_a_folder_of_other_keys_is_refused(open_buffer: OpenBuffer, episode: MakeEpisode) -> None:
    open_buffer().add("arm", 0, [episode()])
    with pytest.raises(UserError) as caught:
        open_buffer(keys={"action": {"shape": [3], "dtype": "float32"}})
    own = "{'action': {'shape': [3], 'dtype': 'float32'}}; give it another folder"
    assert str(caught.value).endswith(f"'int64'}}}}; this experiment has {own}")


def test_a_folder_in_use_is_refused_by_the_process_that_has_it(
    open_buffer: OpenBuffer, episode: MakeEpisode, tmp_path: Any
) -> None:
    buffer = open_buffer()
    folder = tmp_path / "replay"
    keys = buffer.describe()["keys"]
    with pytest.raises(UserError, match=f"in {folder} is in use by process {os.getpid()} on "):
        replay_buffer.ReplayBuffer(str(folder), keys, capacity=9, lock_patience_s=0.1)


def test_what_came_while_a_folder_was_waited_for_is_there(
    episode: MakeEpisode, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = partial(replay_buffer.ReplayBuffer, str(tmp_path), KEYS, capacity=100)
    before, waits = make(), threading.Event()

    def wait(folder: Path, patience_s: float) -> int:
        waits.set()
        return hold_folder(folder, patience_s)

    monkeypatch.setattr(replay_buffer, "hold_folder", wait)
    opened: list[replay_buffer.ReplayBuffer] = []
    thread = threading.Thread(target=lambda: opened.append(make()))
    thread.start()
    assert waits.wait(60)
    before.add("arm", 0, [episode()])
    before.close()
    thread.join(60)
    (after,) = opened
    assert (after.describe()["frames"], after.last_number("arm")) == (4, 0)
    assert after.add("arm", 1, [episode(10)])["kept"] == 1
    after.close()


def test_a_second_learner_is_refused_until_the_first_lets_go(open_buffer: OpenBuffer) -> None:
    buffer = open_buffer()
    assert buffer.attach("one") == ""
    assert buffer.attach("two") == "one"
    assert buffer.touch("two") == "one"
    buffer.detach("two")
    assert buffer.describe()["learner"] == "one"
    buffer.detach("one")
    assert buffer.attach("two") == ""


def test_a_learner_that_is_gone_loses_its_lease(
    open_buffer: OpenBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_buffer, "_LEASE_S", 0.0)
    buffer = open_buffer()
    assert [buffer.attach("one"), buffer.attach("two")] == ["", ""]
