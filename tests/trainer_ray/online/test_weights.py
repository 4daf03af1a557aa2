"""Weights on their way to whoever acts: packed, published, handed out, loaded."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import schedulefree
import torch
from torch import nn

from experiments_il.schedule_free import RAdamScheduleFree
from trainer_core.errors import TrainerError
from trainer_ray.online.acting_weights import Averages
from trainer_ray.online.packed_weights import Packer, load_arrays, named_tensors, unpack
from trainer_ray.online.policy_state import PolicyStateManager
from trainer_ray.online.publishing import Publisher

LIMIT_S = 10


def models() -> nn.ModuleDict:
    """Return a frozen and a trained component, with a buffer and a tensor that is shared."""
    trained = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    trained[2].weight = trained[0].weight
    frozen = nn.Linear(2, 2).to(torch.bfloat16).requires_grad_(requires_grad=False)
    return nn.ModuleDict({"frozen": frozen, "trained": trained})


@torch.no_grad()
def fill(components: nn.ModuleDict, value: float) -> None:
    """Give the shared weight one value."""
    components.get_parameter("trained.0.weight").fill_(value)


def same(one: nn.ModuleDict, other: nn.ModuleDict) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_packed_weights_come_back_bit_for_bit() -> None:
    first, second = models(), models()
    packer = Packer(named_tensors(first))
    packer.copy()
    array = packer.array().copy()
    array.flags.writeable = False
    load_arrays(second, [(array, packer.index)])
    assert same(first, second)
    assert "trained/2.weight" not in packer.index


def test_the_same_memory_is_used_again() -> None:
    first = models()
    packer = Packer(named_tensors(first, ["trained"]))
    packer.copy()
    before = packer.array()
    fill(first, 7)
    packer.copy()
    assert packer.array() is before or np.shares_memory(packer.array(), before)
    assert (unpack(packer.array(), packer.index)["trained/0.weight"] == 7).all()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"trained/0.bias": ["float32", [4], 0]}, r"trained/0.bias \[4\], which is \[3\] here"),
        ({"other/bias": ["float32", [3], 0]}, r"other/bias \[3\], which is not there here"),
        ({"trained/0.bias": ["float32", [300], 0]}, "do not fit their index"),
        ({"trained/0.bias": ["load", [3], 0]}, "do not fit their index"),
    ],
)
def test_weights_of_another_model_are_refused(index: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        load_arrays(models(), [(np.zeros(64, np.uint8), index)])


def test_the_manager_hands_out_the_base_once_and_then_what_changes() -> None:
    manager = PolicyStateManager("nowhere")
    assert not manager.publish(3, {"refs": [3]})
    assert manager.newest(-1) is None
    assert manager.publish(3, {"refs": [3]}, {"refs": [0]})
    assert manager.newest(-1) == {"version": 3, "layers": [{"refs": [0]}, {"refs": [3]}]}
    assert manager.publish(5, {"refs": [5]})
    assert manager.newest(3) == {"version": 5, "layers": [{"refs": [5]}]}
    assert manager.newest(5) is None


def test_weights_of_an_earlier_step_follow_a_learner_that_went_back() -> None:
    manager = PolicyStateManager("nowhere")
    manager.publish(8, {"refs": [8]}, {"refs": [0]})
    manager.publish(4, {"refs": [4]})
    assert manager.newest(8) == {"version": 4, "layers": [{"refs": [4]}]}


def test_the_manager_knows_who_acts_with_which_weights() -> None:
    manager = PolicyStateManager("nowhere")
    manager.publish(8, {"refs": [8]}, {"refs": [0]})
    for known in (-1, 8, 8):
        manager.newest(known, worker="rollout-0")
    acting = manager.describe()["acting"]["rollout-0"]
    assert (acting["version"], acting["calls"]) == (8, 2)


class Receiver:
    """A manager that loses its base now and then."""

    def __init__(self) -> None:
        self.received: list[tuple[int, bool]] = []
        self.layers: list[dict[str, Any]] = []

    def send(self, version: int, newest: dict[str, Any], base: dict[str, Any] | None) -> bool:
        self.received.append((version, base is not None))
        if base is not None:
            self.layers = [base]
        if not self.layers:
            return False
        self.layers = [self.layers[0], newest]
        return True

    def wait_for(self, version: int, count: int = 1) -> None:
        deadline = time.monotonic() + LIMIT_S
        while sum(v == version for v, _ in self.received) < count:
            assert time.monotonic() < deadline, self.received
            time.sleep(0.01)


def publish(publisher: Publisher, version: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not publisher.publish(version):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_frozen_component_travels_once_and_a_lost_base_is_sent_again() -> None:
    learner, actor, receiver = models(), models(), Receiver()
    publisher = Publisher(learner, np.copy, receiver.send)
    publish(publisher, 1)
    receiver.wait_for(1)
    fill(learner, 7)
    publish(publisher, 2)
    receiver.wait_for(2)
    assert not any(name.startswith("frozen") for name in receiver.layers[1]["index"])
    receiver.layers = []
    publisher.repeat()
    receiver.wait_for(2, count=3)
    publisher.close()
    load_arrays(actor, [(layer["refs"][0], layer["index"]) for layer in receiver.layers])
    assert same(learner, actor)
    assert receiver.received == [(1, True), (2, False), (2, False), (2, True)]


def test_weights_are_those_of_the_moment_they_were_published() -> None:
    learner, receiver = models(), Receiver()
    publisher = Publisher(learner, np.copy, receiver.send)
    fill(learner, 1)
    publish(publisher, 1)
    fill(learner, 2)
    receiver.wait_for(1)
    publisher.close()
    sent = unpack(receiver.layers[1]["refs"][0], receiver.layers[1]["index"])
    assert (sent["trained/0.weight"] == 1).all()


def test_weights_without_a_place_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def refuse(array: Any) -> Any:
        calls.append(array.nbytes)
        msg = "the disk is full\nask somebody"
        raise OSError(msg)

    publisher = Publisher(models(), refuse, Receiver().send)
    for version in (1, 2, 3):
        publish(publisher, version)  # waits until the one before is given up
    publisher.close()
    assert len(calls) >= 2
    said = "weights were not published: OSError: the disk is full; rollouts go on with those of"
    assert [message for message in caplog.messages if said in message] == [f"{said} step -1"]


def published(learner: nn.ModuleDict, averages: Averages) -> nn.ModuleDict:
    """Return other models with the weights that a publisher sends of these."""
    receiver, actor = Receiver(), models()
    publisher = Publisher(learner, np.copy, receiver.send, averages)
    publish(publisher, 1)
    receiver.wait_for(1)
    publisher.close()
    load_arrays(actor, [(layer["refs"][0], layer["index"]) for layer in receiver.layers])
    return actor


def test_averages_are_published_instead_of_the_weights_they_follow() -> None:
    learner = models()
    kept = {"trained/0.bias": torch.full((3,), 5.0), "frozen/bias": torch.full((2,), 0.5)}
    kept["frozen/bias"] = kept["frozen/bias"].to(torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    actor = published(learner, Averages([lambda: kept]))
    for name, tensor in actor.state_dict().items():
        component, _, own = name.partition(".")
        assert torch.equal(tensor, kept.get(f"{component}/{own}", before[name]))
        assert torch.equal(learner.state_dict()[name], before[name])


@pytest.mark.parametrize("kind", [RAdamScheduleFree, schedulefree.RAdamScheduleFree])
def test_optimizers_that_average_publish_what_an_evaluation_sees_and_train_on(kind: Any) -> None:
    learner = models()
    parameters = list(learner["trained"].parameters())
    optimizer = kind(parameters, lr=0.1)
    optimizer.train()
    for step in range(9):
        (sum((p - step).square().sum() for p in parameters)).backward()  # type: ignore[union-attr]
        optimizer.step()
    training = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    actor = published(learner, Averages(optimizers=[optimizer]))
    assert all(torch.equal(learner.state_dict()[name], training[name]) for name in training)
    assert not same(actor, learner)
    optimizer.eval()
    assert same(actor, learner)
