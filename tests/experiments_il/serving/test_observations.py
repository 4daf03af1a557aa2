"""What a client sends against what the policy reads: each mistake in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments_il.serving.description import ObservationSpec, PolicyDescription
from experiments_il.serving.observations import History, ObservationError


def describe(frames: int = 1, **specs: ObservationSpec) -> PolicyDescription:
    known = specs or {"state": ObservationSpec((2,), "float32")}
    return PolicyDescription(dict(known), 4, 2, n_obs_steps=frames)


IMAGE = ObservationSpec((3, 4, 5), "uint8")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ([1, 2], "an observation is a map of keys, not list"),
        ({}, "the observation has no state; it has nothing"),
        ({"reset": True, "prompt": ""}, "the observation has no state; it has reset, prompt"),
        (
            {"state": np.zeros(2), "stat": 1},
            "the policy reads no 'stat'; did you mean 'state'? It reads state",
        ),
        ({"state": np.zeros(2), 7: 1}, "the policy reads no 7; it reads state"),
        ({"state": np.zeros(3)}, "state has the shape (3,), expected (2,)"),
        ({"state": "up"}, "state is str, expected an array of numbers"),
        ({"state": None}, "state is NoneType, expected an array of numbers"),
        ({"state": [[1], [1, 2]]}, "state is list, expected an array of numbers"),
        ({"state": np.zeros(2, bool)}, "state has the dtype bool, expected float32"),
        (
            {"state": np.array([0, np.nan])},
            "state has 1 value that is not finite, the first at [1]",
        ),
        (
            {"state": np.array([1e300, -np.inf])},
            "state has 2 values that are not finite, the first at [0]",
        ),
    ],
)
def test_mistake_in_a_state_is_said(message: Any, text: str) -> None:
    with pytest.raises(ObservationError) as error:
        History(describe()).add(message)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (
            np.zeros((4, 5, 3), np.uint8),
            "cam has the shape (4, 5, 3), expected (3, 4, 5): images are sent channels first",
        ),
        (
            np.zeros((3, 4, 5), np.float32),
            "cam has the dtype float32, expected uint8 (pixels of 0 to 255)",
        ),
    ],
)
def test_mistake_in_an_image_is_said(image: Any, text: str) -> None:
    with pytest.raises(ObservationError) as error:
        History(describe(cam=IMAGE)).add({"cam": image})
    assert str(error.value) == text


@pytest.mark.parametrize("value", [[1, 2], np.array([1.0, 2.0]), np.array([1, 2], np.int16)])
def test_numbers_become_what_the_policy_was_trained_on(value: Any) -> None:
    found = History(describe()).add({"state": value, "prompt": "pick it up"})
    assert found["state"].dtype == np.float32
    assert found["state"].tolist() == [[1.0, 2.0]]


def test_frames_are_kept_and_the_first_one_stands_for_missing_ones() -> None:
    history = History(describe(frames=3))
    frames = [history.add({"state": np.full(2, value)})["state"][:, 0] for value in (1, 2, 3, 4)]
    assert [frame.tolist() for frame in frames] == [[1, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 4]]
    history.forget()
    assert history.add({"state": np.full(2, 9)})["state"][:, 0].tolist() == [9, 9, 9]


def test_whole_history_may_be_sent_instead() -> None:
    history = History(describe(frames=2))
    history.add({"state": np.zeros(2)})
    assert history.add({"state": [[5, 5], [6, 6]]})["state"].tolist() == [[5, 5], [6, 6]]
    assert history.add({"state": [7, 7]})["state"].tolist() == [[6, 6], [7, 7]]


def test_refused_observation_leaves_the_history_alone() -> None:
    history = History(describe(2, a=ObservationSpec((), "float32"), b=ObservationSpec((), None)))
    history.add({"a": 1.0, "b": [1.0, 1.0]})
    with pytest.raises(ObservationError):
        history.add({"a": 2.0, "b": [np.nan, 1.0]})
    assert history.add({"a": 3.0, "b": [1.0, 1.0]})["a"].tolist() == [1.0, 3.0]


def test_unknown_shape_takes_what_comes_as_frames() -> None:
    assert History(describe(x=ObservationSpec())).add({"x": np.zeros(5)})["x"].shape == (1, 5)
    with pytest.raises(ObservationError, match=r"expected 2 frames on axis 0"):
        History(describe(2, x=ObservationSpec())).add({"x": np.zeros(5)})
