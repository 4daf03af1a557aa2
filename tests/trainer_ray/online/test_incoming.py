"""What is refused of the episodes that come, and what it is told."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_core.errors import UserError
from trainer_ray.online.incoming import RefusedError, describe_keys, read_episode, read_keys
from trainer_ray.online.ring import Column

if TYPE_CHECKING:
    from tests.trainer_ray.online.conftest import MakeEpisode

COLUMNS = {"action": Column((2,), np.dtype("float32")), "frame": Column((), np.dtype("int64"))}
ACTION = np.zeros((4, 2), np.float32)
WITH_NAN = np.array([[0, 0], [0, 0], [0, np.nan], [0, 0]])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"action": ACTION[:, :1]}, "'action' has the shape (4, 1); expected (steps, 2)"),
        ({"action": np.float32(1)}, "'action' has the shape (); expected (steps, 2)"),
        ({"frame": np.zeros((4, 1), int)}, "'frame' has the shape (4, 1); expected (steps)"),
        ({"action": ACTION[:3]}, "'frame' has 4 steps and 'action' has 3"),
        ({"action": WITH_NAN}, "'action' is nan at step 2; expected finite numbers"),
        (
            {"action": ACTION.astype(float) + 1e300},
            "'action' is inf at step 0; expected finite numbers",
        ),
        ({"frame": np.zeros(4)}, "'frame' is float64, which does not fit into int64"),
        ({"frame": ["a"] * 4}, "'frame' is <U1, which does not fit into int64"),
        ({"action": ACTION.astype(int)}, "'action' is int64, which does not fit into float32"),
        ({"action": ACTION[:0], "frame": np.zeros(0, int)}, "it has no steps"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(
    episode: MakeEpisode, change: dict[str, Any], reason: str
) -> None:
    sent = episode()
    sent["columns"] |= change
    with pytest.raises(RefusedError) as caught:
        read_episode(sent, COLUMNS, 100)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([1], "an episode is a mapping with 'columns', itself a mapping of arrays by key"),
        ({"columns": {"action": ACTION}}, "the key 'frame' is missing; there are action"),
        ({"columns": {}}, "the key 'action' is missing; there are none"),
        ({"columns": {}, "error": "the arm fell"}, "the producer says: the arm fell"),
    ],
)
def test_what_is_no_episode_is_refused(sent: Any, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read_episode(sent, COLUMNS, 100)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"version": 1.5}, "'version' is the step of the weights that acted, or -1, not 1.5"),
        ({"version": -2}, "'version' is the step of the weights that acted, or -1, not -2"),
        ({"priority": -1.0}, "'priority' is a finite number of at least 0, not -1.0"),
        ({"priority": np.inf}, "'priority' is a finite number of at least 0, not inf"),
        ({"success": "yes"}, "'success' is true or false, not 'yes'"),
        ({"steps": 101}, "it has 101 steps, and the buffer holds 100"),
    ],
)
def test_numbers_out_of_range_are_refused(
    episode: MakeEpisode, more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        read_episode(episode(**more), COLUMNS, 100)
    assert str(caught.value) == reason


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["success", "version", "priority", "error"]), JUNK),
    st.dictionaries(st.sampled_from(["action", "frame", "other"]), JUNK),
)
def test_nothing_that_is_sent_does_more_than_being_refused(
    about: dict[str, Any], columns: dict[str, Any]
) -> None:
    whole = {"action": ACTION, "frame": np.arange(4)}
    for sent in (
        columns,
        {**about, "columns": columns},
        {**about, "columns": {**whole, **columns}},
    ):
        with suppress(RefusedError):
            assert read_episode(sent, COLUMNS, 100).length <= 100


def test_lists_of_unequal_rows_are_refused(episode: MakeEpisode) -> None:
    sent = episode()
    sent["columns"]["action"] = [[1.0, 2.0], [3.0]]
    with pytest.raises(RefusedError, match="'action' is no array: "):
        read_episode(sent, COLUMNS, 100)


def test_wider_floats_and_narrower_integers_become_the_buffers_own(episode: MakeEpisode) -> None:
    sent = episode()
    sent["columns"] |= {"action": ACTION.astype(float), "frame": np.zeros(4, np.uint8)}
    found = read_episode(sent, COLUMNS, 100).columns
    assert {key: column.dtype.name for key, column in found.items()} == {
        "action": "float32",
        "frame": "int64",
    }


def test_more_columns_than_needed_are_left_out(episode: MakeEpisode) -> None:
    sent = episode()
    sent["columns"]["camera"] = np.zeros((9, 3))
    assert set(read_episode(sent, COLUMNS, 100).columns) == {"action", "frame"}


def test_an_episode_without_a_version_is_not_the_learners(episode: MakeEpisode) -> None:
    found = read_episode(episode(), COLUMNS, 100)
    assert (found.version, found.priority, found.is_success) == (-1, None, True)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "replay buffer: an episode must have a key"),
        (
            {"task": {"shape": [], "dtype": "U8"}},
            "replay buffer: the key 'task' is <U8; it must be of plain numbers",
        ),
    ],
)
def test_keys_that_no_file_can_hold_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_keys(keys)
    assert str(caught.value) == message


def test_a_description_of_keys_has_one_spelling() -> None:
    keys = {"x": {"shape": (3,), "dtype": np.float32, "offsets": range(2)}}
    assert describe_keys(keys) == {"x": {"shape": [3], "dtype": "float32", "offsets": [0, 1]}}
