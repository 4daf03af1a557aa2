"""The losses of samples on their way back to the replay buffer that sent them."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray
import torch
from torch import nn

import trainer_core
from trainer_core.step import LossTrainer
from trainer_core.trainers import DefaultTrainer
from trainer_ray.online.actors import NamedActor
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.feedback import Feedback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.trainer_ray.online.conftest import MakeEpisode

LIMIT_S = 60
KEYS: dict[str, dict[str, Any]] = {
    "action": {"shape": [2], "dtype": "float32", "offsets": [0]},
    "frame": {"shape": [], "dtype": "int64", "offsets": None},
}
TOY_KEYS: dict[str, dict[str, Any]] = {
    "index": {"shape": [], "dtype": "int64", "offsets": None},
    "number": {"shape": [], "dtype": "int64", "offsets": None},
    "x": {"shape": [3], "dtype": "float32", "offsets": None},
    "y": {"shape": [2], "dtype": "float32", "offsets": [0, 1]},
}
HARD, EASY = -7, -8
PLACES = np.array([False, True, False, True, True])


class Teller(LossTrainer):
    """A trainer whose losses the test tells."""

    def __init__(self) -> None:
        super().__init__(nn.ModuleDict({"net": nn.Linear(1, 1)}), {}, None, "cpu")

    def compute_losses(self, batch: Any, step: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def buffer(program: None, tmp_path: Path) -> Iterator[NamedActor]:
    """A prioritized buffer in full proportion, with room for 40 frames."""
    name = str(tmp_path)
    make = partial(start_buffer, f"{name}/replay", KEYS, name=name, capacity=40)
    made = partial(make, sampling="prioritized", priority_exponent=1.0)
    actor = NamedActor("buffer", name, made)
    actor.start()
    yield actor
    actor.end()


def add(buffer: NamedActor, number: int, episode: dict[str, Any]) -> None:
    buffer.call("add", "arm", number, [episode], limit_s=LIMIT_S)


def draw(buffer: NamedActor, size: int) -> Any:
    return buffer.call("sample", size, 0, limit_s=LIMIT_S)


def tell(feedback: Feedback, trainer: LossTrainer, rows: Any, losses: list[float]) -> None:
    """Do as the learner does in four steps whose batches have the same samples of the buffer."""
    assert trainer.on_sample_losses is not None
    of_batch = torch.full((5,), 99.0)
    of_batch[torch.from_numpy(PLACES)] = torch.tensor(losses)
    for _ in range(4):
        feedback.expect(rows)
        trainer.on_sample_losses(of_batch)
    feedback.send()


def test_each_frame_gets_the_loss_of_its_place_in_the_batch(
    buffer: NamedActor, episode: MakeEpisode
) -> None:
    feedback, trainer = Feedback(buffer, PLACES), Teller()
    feedback.listen(trainer)
    add(buffer, 0, episode(0, 3))
    sample = draw(buffer, 100)
    rows = [int(sample["rows"][sample["windows"]["frame"] == frame][0]) for frame in range(3)]
    tell(feedback, trainer, np.array(rows), [1.0, 0.0, 3.0])
    counts = np.bincount(draw(buffer, 4000)["windows"]["frame"], minlength=3)
    assert np.abs(counts - [1000, 0, 3000]).max() <= 2  # drawn from as many equal parts


def test_losses_that_are_no_numbers_or_of_frames_that_are_gone_change_nothing(
    buffer: NamedActor, episode: MakeEpisode
) -> None:
    feedback, trainer = Feedback(buffer, PLACES), Teller()
    feedback.listen(trainer)
    add(buffer, 0, episode(0, 20))
    rows = draw(buffer, 3)["rows"]
    tell(feedback, trainer, rows, [float("nan"), float("inf"), float("nan")])
    add(buffer, 1, episode(20, 40))
    tell(feedback, trainer, rows, [5.0, 6.0, 7.0])
    frames = draw(buffer, 40)["windows"]["frame"]
    assert sorted(frames) == list(range(20, 60))


def test_a_buffer_that_dies_loses_priorities_and_nothing_else(
    buffer: NamedActor, episode: MakeEpisode
) -> None:
    feedback, trainer = Feedback(buffer, PLACES), Teller()
    feedback.listen(trainer)
    add(buffer, 0, episode(0, 10))
    rows = draw(buffer, 3)["rows"]
    os.kill(buffer.call("pid", limit_s=LIMIT_S), signal.SIGKILL)
    tell(feedback, trainer, rows, [5.0, 6.0, 7.0])
    assert sorted(draw(buffer, 10)["windows"]["frame"]) == list(range(10))
    again = draw(buffer, 3)
    tell(feedback, trainer, again["rows"], [0.0, 0.0, 0.0])
    others = set(range(10)) - set(again["windows"]["frame"])
    assert set(draw(buffer, 100)["windows"]["frame"]) == others


def test_a_trainer_that_tells_no_losses_is_named_once(
    buffer: NamedActor, caplog: pytest.LogCaptureFixture
) -> None:
    feedback = Feedback(buffer, PLACES)
    feedback.listen(Teller())
    for _ in range(10):
        feedback.expect(np.arange(3))
    message = (
        "sampling: prioritized goes by the priorities that senders give: Teller tells no losses "
        "of samples"
    )
    assert [record.getMessage() for record in caplog.records] == [message]


def test_who_stops_listening_is_told_no_more(buffer: NamedActor) -> None:
    feedback, trainer = Feedback(buffer, PLACES), Teller()
    feedback.listen(trainer)
    feedback.close()
    assert trainer.on_sample_losses is None


class Spy:
    """Has the default trainer tell large losses of hard samples; keeps what each step drew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hard: list[float] = []
        self.wanted: list[bool] = []
        losses = DefaultTrainer.compute_losses

        def compute(trainer: Any, batch: Any, step: Any) -> Any:
            if step.training:
                index = batch["index"]
                self.wanted.append(step.wants_sample_losses)
                self.hard += (index[index < 0] == HARD).float().tolist()
                step.tell_sample_losses(torch.where(index == HARD, 10.0, 1e-4))
            return losses(trainer, batch, step)

        monkeypatch.setattr(DefaultTrainer, "compute_losses", compute)


@pytest.fixture
def filled(joined: dict[str, Any], program: None, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A run that joins a buffer with as many hard frames as easy ones, and adds none."""
    sampling = "prioritized"
    buffer = start_buffer(
        str(tmp_path / "robot"),
        TOY_KEYS,
        name=joined["runner"]["replay_buffer"],
        capacity=100,
        sampling=sampling,
    )
    for number, index in enumerate((HARD, EASY)):
        columns: dict[str, Any] = {"x": np.ones((20, 3), np.float32)}
        columns["y"] = np.ones((20, 2), np.float32)
        columns["index"] = columns["number"] = np.full(20, index, np.int64)
        sent = {"columns": columns, "success": True, "version": -1}
        ray.get(buffer.add.remote("arm", number, [sent]))
    joined["runner"] |= {"sampling": sampling, "rollout": {"wins": 0}, "offline_steps": 5}
    joined["runner"]["fill_timeout_s"] = LIMIT_S
    yield joined
    ray.kill(buffer)


def test_frames_with_high_losses_are_drawn_more_often_also_in_a_run_that_goes_on(
    filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled["trainer"]["grad_accum_steps"] = 2
    spy = Spy(monkeypatch)
    trainer_core.run(filled, ["trainer.max_steps=45"])
    trainer_core.run(filled, ["run.allow=[schedule]"])
    assert spy.wanted == [False] * 10 + [True] * 80 + [True] * 30
    assert len(spy.hard) == 4 * 55
    assert sum(spy.hard[-4 * 25 :]) >= 90  # expected: more than 99 of 100; uniform: 50


def test_uniform_sampling_asks_for_no_losses(
    filled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled["runner"]["sampling"] = "uniform"
    spy = Spy(monkeypatch)
    trainer_core.run(filled, ["trainer.max_steps=20"])
    assert spy.wanted == [False] * 20
