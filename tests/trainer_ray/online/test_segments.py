"""Damage to the files of a buffer: what was whole is kept, what was not is named."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer_core.errors import UserError
from trainer_ray.online.record import EPISODES, HEADER_BYTES, LEDGER, Cut, encode, read_records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_ray.online.conftest import MakeEpisode, OpenBuffer

    from trainer_ray.online.replay_buffer import ReplayBuffer

ADDED = [0, 1, 10, 11, 20, 21]


class Written(NamedTuple):
    """A segment with a ledger and three adds of two frames each, and where these begin."""

    path: Path
    data: bytes
    offsets: list[int]

    def damage(self, at: int) -> None:
        """Turn one bit."""
        changed = bytearray(self.data)
        changed[at] ^= 1
        self.path.write_bytes(changed)


@pytest.fixture
def written(open_buffer: OpenBuffer, episode: MakeEpisode, tmp_path: Path) -> Written:
    buffer = open_buffer()
    for number in range(3):
        buffer.add("arm", number, [episode(10 * number, 2)])
    path = tmp_path / "replay" / "segment-000000001.replay"
    data = path.read_bytes()
    return Written(path, data, [part.offset for part in read_records(memoryview(data), 1)])


def _frames(buffer: ReplayBuffer) -> list[int]:
    """Return the frames of a small buffer."""
    windows = buffer.sample(500, 0)["windows"]
    return [] if windows is None else sorted({int(frame) for frame in windows["frame"]})


def test_a_file_cut_at_any_byte_is_its_whole_records_and_a_beginning(written: Written) -> None:
    ends = [*written.offsets[1:], len(written.data)]
    for size in range(len(written.data)):
        parts = list(read_records(memoryview(written.data[:size]), 1))
        whole = sum(end <= size for end in ends)
        begun = [Cut(written.offsets[whole], size, is_unfinished=True)]
        assert [part.offset for part in parts] == [
            *written.offsets[:whole],
            *(cut.offset for cut in begun if size > cut.offset),
        ]
        assert parts[whole:] == (begun if size > written.offsets[whole] else [])


def test_any_damaged_byte_costs_one_record(written: Written) -> None:
    first, after = written.offsets[1:3]
    for at in range(first, after):
        changed = bytearray(written.data)
        changed[at] ^= 0x10
        parts = list(read_records(memoryview(changed), 1))
        assert [part.offset for part in parts] == written.offsets
        assert parts[1] == Cut(first, after, is_unfinished=False)


@pytest.mark.parametrize("missing", [1, 50, 200])
def test_an_unfinished_record_is_cut_off_and_adding_goes_on(
    open_buffer: OpenBuffer, episode: MakeEpisode, written: Written, missing: int
) -> None:
    written.path.write_bytes(written.data[:-missing])
    buffer = open_buffer()
    assert (_frames(buffer), buffer.describe()["lost"]) == (ADDED[:4], [])
    assert written.path.stat().st_size == written.offsets[3]
    assert not buffer.add("arm", 2, [episode(20, 2)])["repeated"]
    assert _frames(open_buffer()) == ADDED


@pytest.mark.parametrize("place", [0, HEADER_BYTES + 20])
def test_a_damaged_record_is_named_and_left_out(
    open_buffer: OpenBuffer, episode: MakeEpisode, written: Written, place: int
) -> None:
    begin, end = written.offsets[2:]
    written.damage(begin + place)
    lost = f"{written.path.name}: {end - begin} bytes from byte {begin} on are no whole record"
    for _ in range(2):
        buffer = open_buffer()
        assert (_frames(buffer), buffer.describe()["lost"]) == ([0, 1, 20, 21], [lost])
    assert (buffer.last_number("arm"), buffer.add("arm", 3, [episode(30)])["kept"]) == (2, 1)


def test_a_damaged_last_record_is_named_and_may_be_sent_again(
    open_buffer: OpenBuffer, episode: MakeEpisode, written: Written
) -> None:
    written.damage(len(written.data) - 1)
    buffer = open_buffer()
    assert (len(buffer.describe()["lost"]), buffer.last_number("arm")) == (1, 1)
    buffer.add("arm", 2, [episode(20, 2)])
    assert _frames(open_buffer()) == ADDED


def test_a_damaged_ledger_costs_no_episode(open_buffer: OpenBuffer, written: Written) -> None:
    written.damage(HEADER_BYTES)
    buffer = open_buffer()
    assert (_frames(buffer), buffer.last_number("arm")) == (ADDED, 2)
    assert len(buffer.describe()["lost"]) == 1


def test_a_later_ledger_knows_the_numbers_of_damaged_records(
    open_buffer: OpenBuffer, episode: MakeEpisode, written: Written
) -> None:
    open_buffer().add("other", 0, [episode(90, 1)])
    written.damage(len(written.data) - 1)
    buffer = open_buffer()
    assert (_frames(buffer), buffer.last_number("arm")) == ([*ADDED[:4], 90], 2)
    assert buffer.describe()["episodes_added"] == 4


def test_a_segment_cut_after_another_was_begun_is_damaged(
    open_buffer: OpenBuffer, episode: MakeEpisode, written: Written
) -> None:
    open_buffer().add("other", 0, [episode(90, 1)])
    written.path.write_bytes(written.data[:-9])
    buffer = open_buffer()
    assert (_frames(buffer), len(buffer.describe()["lost"])) == ([*ADDED[:4], 90], 1)
    assert written.path.stat().st_size == len(written.data) - 9


def test_a_damaged_segment_stays_until_all_of_its_time_is_evicted(
    open_buffer: OpenBuffer, episode: MakeEpisode, written: Written
) -> None:
    written.path.write_bytes(bytes(len(written.data)))
    open_buffer(capacity=4, segment_bytes=1)
    assert written.path.exists()
    buffer = open_buffer(capacity=4, segment_bytes=1)
    for number in range(3):
        buffer.add("arm", number, [episode()])
    assert not written.path.exists()


@given(
    st.sampled_from(["flip", "cut", "zero", "insert", "remove"]),
    st.integers(0, 1 << 20),
    st.integers(1, 300),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_whatever_happens_to_a_file_only_what_was_added_comes_of_it(
    open_buffer: OpenBuffer, written: Written, kind: str, at: int, length: int
) -> None:
    data, at = bytearray(written.data), at % len(written.data)
    if kind == "flip":
        data[at] ^= 1 << length % 8
    elif kind == "insert":
        data[at:at] = bytes(length)
    else:
        end = len(data) if kind == "cut" else at + length
        data[at:end] = bytes(len(data[at:end])) if kind == "zero" else b""
    written.path.write_bytes(data)
    assert set(_frames(open_buffer())) <= set(ADDED)


def test_bytes_that_look_like_a_record_are_none() -> None:
    inner = b"inner"
    payload = b"some" + encode(EPISODES, 1, 0, inner) + inner
    data = bytearray(encode(LEDGER, 1, 0, payload) + payload)
    data[0] ^= 1
    assert list(read_records(memoryview(data), 1)) == [Cut(0, len(data), is_unfinished=False)]


def test_a_record_of_a_newer_version_is_not_judged() -> None:
    header = bytearray(encode(LEDGER, 7, 0, b""))
    header[8] = 2
    header[-32:] = hashlib.sha256(header[:-32]).digest()
    with pytest.raises(UserError) as caught:
        list(read_records(memoryview(header), 7))
    assert str(caught.value) == (
        "the replay buffer's segment 7 was written by a newer trainer-ray (format 2; this one "
        "reads 1): upgrade trainer-ray to use it"
    )


def test_whole_records_of_something_else_are_named(
    open_buffer: OpenBuffer, written: Written
) -> None:
    foreign = [encode(kind, 1, 0, b"{}") + b"{}" for kind in (LEDGER, EPISODES)]
    written.path.write_bytes(foreign[0])
    ledger = "a record of segment 1: it is no ledger"
    assert open_buffer().describe()["lost"] == [ledger]
    written.path.write_bytes(foreign[1])
    (lost,) = open_buffer().describe()["lost"]
    assert lost.startswith("a record of segment 1: it is no record of episodes: ")
