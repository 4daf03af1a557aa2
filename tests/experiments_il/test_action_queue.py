"""Queues turn chunks into one action for each frame."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments_il.action_queue import (
    ActionQueue,
    ChunkSettings,
    EnsemblingQueue,
    RecedingHorizonQueue,
    make_queue,
)
from trainer_core.errors import UserError

HORIZON = 5


def chunk_of(frame: int) -> NDArray[np.float64]:
    """Return a chunk whose action k is `10 frame + k`, shape (5, 1)."""
    return 10.0 * frame + np.arange(HORIZON, dtype=np.float64)[:, None]


def play(queue: ActionQueue, frames: int) -> list[float]:
    """Return the actions when a chunk comes whenever it is wanted."""
    actions = []
    for frame in range(frames):
        queue.observe(frame)
        if queue.needs_chunk:
            queue.put(chunk_of(frame))
        actions.append(float(queue.pop()[0]))
    return actions


def online_average(predictions: list[NDArray[np.float64]], c: float) -> NDArray[np.float64]:
    """Average as ACT's authors and LeRobot do: predictions come one by one, the oldest first."""
    average, total = predictions[0], 1.0
    for i, prediction in enumerate(predictions[1:], start=1):
        weight = math.exp(-c * i)
        average = (average * total + prediction * weight) / (total + weight)
        total += weight
    return average


def test_receding_horizon_plans_after_its_actions() -> None:
    queue = make_queue(ChunkSettings(n_action_steps=2), HORIZON)
    assert play(queue, 5) == [0, 1, 20, 21, 40]


@pytest.mark.parametrize("offset", [0, -1])
@pytest.mark.parametrize("c", [0.01, 0.0, 0.7, -0.2])
def test_ensemble_equals_the_published_average(offset: int, c: float) -> None:
    rng = np.random.default_rng(0)
    chunks = rng.normal(size=(12, HORIZON, 3))
    settings = ChunkSettings(
        action_offset=offset, execution="temporal_ensembling", ensembling_coefficient=c
    )
    queue = make_queue(settings, HORIZON)
    for now, chunk in enumerate(chunks):
        queue.observe(now)
        assert queue.needs_chunk
        queue.put(chunk)
        made = [m for m in range(now + 1) if now - m - offset < HORIZON]
        wanted = online_average([chunks[m][now - m - offset] for m in made], c)
        np.testing.assert_allclose(queue.pop(), wanted, atol=1e-12)


def test_ensemble_of_one_chunk_follows_it() -> None:
    queue = EnsemblingQueue(ChunkSettings(execution="temporal_ensembling"), HORIZON)
    queue.observe(0)
    queue.put(chunk_of(0))
    actions = [float(queue.pop()[0])]
    for frame in (1, 2):  # the server is slow: the old chunk goes on
        queue.observe(frame)
        actions.append(float(queue.pop()[0]))
    assert actions == [0, 1, 2]


def test_late_chunk_skips_what_is_past() -> None:
    queue = RecedingHorizonQueue(ChunkSettings(n_action_steps=3), HORIZON)
    for frame in range(3):
        queue.observe(frame)
    queue.put(chunk_of(0), age=2)
    assert [float(queue.pop()[0]) for _ in range(3)] == [2, 3, 4]


def test_chunk_of_long_ago_is_refused() -> None:
    queue = make_queue(ChunkSettings(n_action_steps=2, action_offset=-1), HORIZON)
    queue.observe(0)
    with pytest.raises(ValueError, match=r"planned 4 frames ago and has no action for this one"):
        queue.put(chunk_of(0), age=4)


def test_chunk_of_another_length_is_refused() -> None:
    queue = make_queue(ChunkSettings(), 8)
    with pytest.raises(ValueError, match=r"^a chunk has 8 actions, this one 5$"):
        queue.put(chunk_of(0))


@pytest.mark.parametrize("execution", ["receding_horizon", "temporal_ensembling"])
def test_empty_queue_says_so(execution: str) -> None:
    queue = make_queue(ChunkSettings(execution=execution), 8)  # type: ignore[arg-type] # parametrized
    queue.observe(0)
    with pytest.raises(IndexError, match="first"):
        queue.pop()


@pytest.mark.parametrize("execution", ["receding_horizon", "temporal_ensembling"])
def test_reset_forgets_history_and_plan(execution: str) -> None:
    settings = ChunkSettings(2, 2, execution=execution)  # type: ignore[arg-type] # parametrized
    queue = make_queue(settings, HORIZON)
    play(queue, 3)
    queue.reset()
    queue.observe("new")
    assert queue.history == ["new", "new"]
    assert queue.needs_chunk


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"execution": "temporal_ensemble"},
            (
                "unknown execution 'temporal_ensemble'; known: receding_horizon, "
                "temporal_ensembling; did you mean 'temporal_ensembling'?"
            ),
        ),
        (
            {"ensembling_coefficient": math.nan},
            "ensembling_coefficient must be finite, got nan",
        ),
    ],
)
def test_impossible_execution_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        ChunkSettings(**settings)  # type: ignore[arg-type] # wrong on purpose
    assert str(caught.value) == message


def test_ensembling_needs_no_more_than_one_action_of_a_chunk() -> None:
    ChunkSettings(n_action_steps=8, execution="temporal_ensembling").check_horizon(2)
